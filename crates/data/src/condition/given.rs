//! Control images that are given: in a folder, one for each image of the dataset under the same
//! name, or in another column of the same parquet files.

use crate::collector::{CHUNK, ImageCollector};
use crate::config::expand_home;
use crate::folder;
use crate::image::{Content, Fit};
use crate::input::{MAX_IMAGE_FILE, read_bytes};
use crate::pairs::{Location, check_aspect, check_sizes, partner};
use crate::{DataConfig, DataError, DataKind, Dataset, parquet};
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
            let given = DataConfig { column, ..data.clone() };
            check_columns(data, &given)?;
            parquet::read(&expand_home(&data.path), &given, collector(channels, data))
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
    collector.check_memory(paths.len(), &origin)?;
    let pairs: Vec<(&PathBuf, &PathBuf)> = files.iter().zip(&paths).collect();
    for chunk in pairs.chunks(CHUNK) {
        let fetch = |(image, given): &(&PathBuf, &PathBuf)| {
            let bytes = [image, given].map(|path| read_bytes(path, MAX_IMAGE_FILE));
            let [image_bytes, given_bytes] = bytes;
            let given_bytes = given_bytes?;
            let [image, given] = [image, given].map(|path| path.display().to_string());
            check_aspect(data.fit, (&image_bytes?, &image), (&given_bytes, &given))?;
            Ok(given_bytes)
        };
        collector.extend(chunk, fetch, |(_, given)| given.display().to_string())?;
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

/// Refuses pairs of different aspect ratios in two columns of the same parquet files.
fn check_columns(data: &DataConfig, given: &DataConfig) -> Result<(), DataError> {
    if data.fit == Fit::Stretch {
        return Ok(());
    }
    let sizes = |data: &DataConfig| parquet::sizes(&expand_home(&data.path), data);
    for (image, given) in sizes(data)?.into_iter().zip(sizes(given)?) {
        check_sizes((image.0, &image.1), (given.0, "in the same row"))?;
    }
    Ok(())
}

fn collector(channels: Option<usize>, data: &DataConfig) -> ImageCollector {
    match channels {
        Some(channels) => ImageCollector::of(data, Content::Images(channels)),
        None => ImageCollector::of(data, Content::DepthMaps),
    }
}
