//! Condition images that lie in a folder, one for each picture of the dataset under the same name.

use std::fs;
use std::path::{Path, PathBuf};

use crate::config::expand_home;
use crate::folder::{self, is_image};
use crate::gather::{CHUNK, Gather};
use crate::{DataConfig, DataError, DataKind, Dataset};

/// Reads the partners of all `pictures` pictures that `data` names, in their order.
pub(super) fn read(
    partners: &Path,
    channels: usize,
    data: &DataConfig,
    pictures: usize,
) -> Result<Dataset, DataError> {
    let root = expand_home(partners);
    let origin = root.display().to_string();
    if data.kind != DataKind::Folder {
        return Err(DataError::Config {
            key: "data.kind",
            got: format!("{:?}", data.kind),
            origin: format!("the condition images in {origin}"),
            expected: "\"folder\": given images are found by the names of the picture files".into(),
        });
    }
    let (folder, files) = folder::files(&expand_home(&data.path), data)?;
    let paths = files
        .iter()
        .map(|file| partner(&folder, file, &root))
        .collect::<Result<Vec<PathBuf>, DataError>>()?;
    let mut gather = Gather::new(data.size, Some(channels));
    for chunk in paths.chunks(CHUNK) {
        let fetch = |path: &PathBuf| fs::read(path).map_err(DataError::read(path));
        gather.extend(chunk, fetch, |path| path.display().to_string())?;
    }
    match gather.finish() {
        (Some(shape), pixels) if paths.len() == pictures => {
            Dataset::from_parts(origin, shape, pixels, None, vec![])
        }
        _ => Err(DataError::Damaged {
            origin,
            reason: format!(
                "{} condition images for {pictures} pictures: the folder changed while it was read",
                paths.len()
            ),
        }),
    }
}

/// The image below `root` under the same relative name as `file` below `folder`, whatever its kind.
fn partner(folder: &Path, file: &Path, root: &Path) -> Result<PathBuf, DataError> {
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
            "{} needs a condition image of the same name; add it or remove the picture",
            file.display()
        ),
    })
}
