//! Which parquet files are those of a set.

use crate::listing::entries;
use crate::splits::{no_file, split_files, sub_folder};
use crate::{DataError, Split};
use std::path::{Path, PathBuf};

/// The parquet files of a split, sorted by name.
pub(super) fn files(path: &Path, split: Split) -> Result<Vec<PathBuf>, DataError> {
    if path.is_file() {
        return Ok(vec![path.to_path_buf()]);
    }
    if let Some(files) = in_folder(path, split)? {
        return Ok(files);
    }
    let part = sub_folder(path, split)?;
    in_part(path, part.as_deref(), split)?.ok_or_else(|| no_file(path, "parquet", split))
}

/// Those in the folder itself, or in its sub-folder `data`, by the names of the files; none if
/// neither has any.
pub(crate) fn in_folder(path: &Path, split: Split) -> Result<Option<Vec<PathBuf>>, DataError> {
    for folder in [path.to_path_buf(), path.join("data")] {
        if folder.is_dir() || folder == path {
            let all = parquet_files(&folder)?;
            if !all.is_empty() {
                return split_files(path, all, "parquet", split).map(Some);
            }
        }
    }
    Ok(None)
}

/// Those in the folder's `part`, which is the sub-folder of the split, or in such a part of its
/// sub-folder `data`; none if there are none.
pub(crate) fn in_part(
    path: &Path,
    part: Option<&Path>,
    split: Split,
) -> Result<Option<Vec<PathBuf>>, DataError> {
    let data = path.join("data");
    let part = match part {
        Some(part) => Some(part.to_path_buf()),
        None if data.is_dir() => sub_folder(&data, split)?,
        None => None,
    };
    let files = part.map(|part| parquet_files(&part)).transpose()?;
    Ok(files.filter(|files| !files.is_empty()))
}

fn parquet_files(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let is_parquet = |path: &PathBuf| {
        let ending = path.extension().unwrap_or_default();
        ending == "parquet" && path.is_file()
    };
    Ok(entries(folder)?.into_iter().filter(is_parquet).collect())
}
