//! Control images that are given: in a folder, one for each image of the dataset under the same
//! name, or in another column of the same parquet files.

use crate::collector::{CHUNK, ImageCollector};
use crate::config::expand_home;
use crate::folder;
use crate::pairs::{Location, partner};
use crate::{DataConfig, DataError, DataKind, Dataset, parquet};
use std::fs;
use std::path::{Path, PathBuf};

/// Reads the partners of all `images` images that `data` names, in their order: depth maps if no
/// number of channels is given.
pub(super) fn read(
    location: &Location,
    channels: Option<usize>,
    data: &DataConfig,
    images: usize,
) -> Result<Dataset, DataError> {
    match (data.kind, &location.path, &location.column) {
        (DataKind::Folder, Some(path), None) => {
            from_folder(&expand_home(path), channels, data, images)
        }
        (DataKind::Parquet, None, Some(column)) => {
            let column = Some(column.clone());
            let data = DataConfig { column, ..data.clone() };
            parquet::read(&expand_home(&data.path), &data, collector(channels, &data))
        }
        _ => Err(DataError::Config {
            key: "condition",
            got: format!("{location:?}"),
            origin: format!("images from {:?}", data.kind),
            expected: "`path`, a folder with an image for each image of `data.kind = \"folder\"`, or `column` of the files of `data.kind = \"parquet\"`".into(),
        }),
    }
}

/// Partners under the names of the images.
fn from_folder(
    root: &Path,
    channels: Option<usize>,
    data: &DataConfig,
    images: usize,
) -> Result<Dataset, DataError> {
    let origin = root.display().to_string();
    let (folder, files) = folder::files(&expand_home(&data.path), data)?;
    let paths = files
        .iter()
        .map(|file| partner(&folder, file, root))
        .collect::<Result<Vec<PathBuf>, DataError>>()?;
    let mut collector = collector(channels, data);
    for chunk in paths.chunks(CHUNK) {
        let fetch = |path: &PathBuf| fs::read(path).map_err(DataError::read(path));
        collector.extend(chunk, fetch, |path| path.display().to_string())?;
    }
    match collector.finish() {
        (Some(shape), pixels) if paths.len() == images => {
            Dataset::from_parts(origin, shape, pixels, None, vec![])
        }
        _ => Err(DataError::Damaged {
            origin,
            reason: format!(
                "{} control images for {images} images: the folder changed while it was read",
                paths.len()
            ),
        }),
    }
}

fn collector(channels: Option<usize>, data: &DataConfig) -> ImageCollector {
    match channels {
        Some(channels) => ImageCollector::new(data.size, Some(channels)),
        None => ImageCollector::depth_maps(data.size),
    }
}
