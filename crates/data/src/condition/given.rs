//! Control images that are given: in a folder, one for each image of the dataset under the same name, or in another
//! column of the same parquet files.

use std::fs;
use std::path::{Path, PathBuf};

use crate::config::expand_home;
use crate::folder::{self, is_image};
use crate::gather::{CHUNK, Gather};
use crate::{DataConfig, DataError, DataKind, Dataset, parquet};

use super::Location;

/// Reads the partners of all `images` images that `data` names, in their order: depth maps where no number of
/// channels is given.
pub(super) fn read(
    place: &Location,
    channels: Option<usize>,
    data: &DataConfig,
    images: usize,
) -> Result<Dataset, DataError> {
    match (data.kind, &place.path, &place.column) {
        (DataKind::Folder, Some(path), None) => {
            from_folder(&expand_home(path), channels, data, images)
        }
        (DataKind::Parquet, None, Some(column)) => {
            let column = Some(column.clone());
            let data = DataConfig { column, ..data.clone() };
            parquet::read(&expand_home(&data.path), &data, gather(channels, &data))
        }
        _ => Err(DataError::Config {
            key: "condition",
            got: format!("{place:?}"),
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
    let mut gather = gather(channels, data);
    for chunk in paths.chunks(CHUNK) {
        let fetch = |path: &PathBuf| fs::read(path).map_err(DataError::read(path));
        gather.extend(chunk, fetch, |path| path.display().to_string())?;
    }
    match gather.finish() {
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

fn gather(channels: Option<usize>, data: &DataConfig) -> Gather {
    match channels {
        Some(channels) => Gather::new(data.size, Some(channels)),
        None => Gather::depth_maps(data.size),
    }
}

/// The image below `root` under the same relative name as `file` below `folder`, whatever its kind.
pub(crate) fn partner(folder: &Path, file: &Path, root: &Path) -> Result<PathBuf, DataError> {
    let name = file.strip_prefix(folder).unwrap_or(file).with_extension("");
    let wanted = root.join(&name);
    let place = wanted.parent().unwrap_or(root);
    let found = match place.is_dir() {
        true => folder::entries(place)?
            .into_iter()
            .find(|path| is_image(path) && path.file_stem() == wanted.file_name()),
        false => None,
    };
    found.ok_or_else(|| DataError::Missing {
        path: root.to_path_buf(),
        wanted: format!("image named `{}`", name.display()),
        hint: format!(
            "{} needs a control image of the same name; add it or remove the image",
            file.display()
        ),
    })
}
