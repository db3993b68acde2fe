//! A folder of images with one sub-folder per class, or a flat folder of unlabelled images.

use crate::collector::{CHUNK, ImageCollector};
use crate::dataset::spread;
use crate::{DataConfig, DataError, Dataset, Split};
use std::fs;
use std::path::{Path, PathBuf};

const EXTENSIONS: [&str; 5] = ["png", "jpg", "jpeg", "bmp", "webp"];
const FORMATS_HINT: &str = "PNG, JPEG, BMP and WebP files count";

/// An image file and its class.
pub(crate) struct Item {
    pub(crate) path: PathBuf,
    pub(crate) label: Option<u32>,
}

/// The folder of the split, and the image files in it that `config` keeps, in the order of the
/// dataset.
pub(crate) fn files(
    folder: &Path,
    config: &DataConfig,
) -> Result<(PathBuf, Vec<PathBuf>), DataError> {
    let folder = split_folder(folder, config.split)?;
    let (items, _) = list(&folder)?;
    let items = keep(items, config.limit.unwrap_or(usize::MAX));
    Ok((folder, items.into_iter().map(|item| item.path).collect()))
}

/// Reads the images below `folder`, sorted by class and path. Where all sub-folders are named after
/// splits (`train`, `test`, `val`), only the folder of `split` is read.
pub(crate) fn read(folder: &Path, config: &DataConfig) -> Result<Dataset, DataError> {
    let folder = &split_folder(folder, config.split)?;
    let (items, classes) = list(folder)?;
    let items: Vec<Item> = keep(items, config.limit.unwrap_or(usize::MAX));
    let mut collector = ImageCollector::new(config.size, config.channels);
    for chunk in items.chunks(CHUNK) {
        let fetch = |item: &Item| fs::read(&item.path).map_err(DataError::read(&item.path));
        collector.extend(chunk, fetch, |item| item.path.display().to_string())?;
    }
    let name = folder.display().to_string();
    let (Some(shape), pixels) = collector.finish() else {
        return Err(DataError::Empty {
            origin: name,
            hint: FORMATS_HINT.into(),
        });
    };
    let labels = items.iter().map(|item| item.label).collect();
    Dataset::from_parts(name, shape, pixels, labels, classes)
}

fn keep(items: Vec<Item>, limit: usize) -> Vec<Item> {
    let mut kept = spread(items.len(), limit).peekable();
    let numbered = items.into_iter().enumerate();
    numbered
        .filter(|(i, _)| kept.next_if_eq(i).is_some())
        .map(|(_, item)| item)
        .collect()
}

/// The sub-folder of the split, where all sub-folders are splits; else the folder itself, which is
/// one to train on.
pub(crate) fn split_folder(folder: &Path, split: Split) -> Result<PathBuf, DataError> {
    let mut parts = entries(folder)?;
    parts.retain(|path| path.is_dir());
    let is_called = |path: &PathBuf, name: &str| path.file_name().is_some_and(|file| file == name);
    let belongs_to =
        |path: &PathBuf, split: Split| split.names().iter().any(|name| is_called(path, name));
    let divided = !parts.is_empty()
        && parts
            .iter()
            .all(|path| belongs_to(path, Split::Train) || belongs_to(path, Split::Test));
    if !divided && split == Split::Train {
        return Ok(folder.to_path_buf());
    }
    let mut preferred = split.names().iter().filter(|_| divided);
    let part = preferred.find_map(|name| parts.iter().find(|path| is_called(path, name)));
    part.cloned().ok_or_else(|| DataError::Missing {
        path: folder.to_path_buf(),
        wanted: format!("sub-folder named `{}`", split.names().join("` or `")),
        hint: "add one, or set `path` to the folder with the images and leave `split` at \"train\""
            .into(),
    })
}

/// All image files with their labels, and the names of the classes.
pub(crate) fn list(folder: &Path) -> Result<(Vec<Item>, Vec<String>), DataError> {
    let all = entries(folder)?;
    let (class_folders, files): (Vec<PathBuf>, Vec<PathBuf>) =
        all.into_iter().partition(|path| path.is_dir());
    let files: Vec<PathBuf> = files.into_iter().filter(|path| is_image(path)).collect();
    if class_folders.is_empty() {
        return Ok((
            files
                .into_iter()
                .map(|path| Item { path, label: None })
                .collect(),
            Vec::new(),
        ));
    }
    if !files.is_empty() {
        tracing::warn!(folder = %folder.display(), "{} images outside the class folders are ignored", files.len());
    }
    let (mut items, mut classes) = (Vec::new(), Vec::new());
    for (label, class_folder) in (0..).zip(class_folders) {
        let mut paths = Vec::new();
        collect_images(&class_folder, &mut paths)?;
        if paths.is_empty() {
            let hint = format!("every sub-folder is a class; {FORMATS_HINT}; remove it or fill it");
            return Err(DataError::Empty {
                origin: class_folder.display().to_string(),
                hint,
            });
        }
        items.extend(paths.into_iter().map(|path| Item {
            path,
            label: Some(label),
        }));
        classes.push(
            class_folder
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
        );
    }
    Ok((items, classes))
}

/// Appends the image files in `folder` and below, in the order of their names. Links to folders are
/// not followed.
pub(crate) fn collect_images(folder: &Path, images: &mut Vec<PathBuf>) -> Result<(), DataError> {
    for path in entries(folder)? {
        if path.is_dir() && !path.is_symlink() {
            collect_images(&path, images)?;
        } else if path.is_file() && is_image(&path) {
            images.push(path);
        }
    }
    Ok(())
}

/// What is in a folder, without hidden files, sorted by name.
pub(crate) fn entries(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(DataError::read(folder))? {
        let entry = entry.map_err(DataError::read(folder))?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

pub(crate) fn is_image(path: &Path) -> bool {
    let extension = path
        .extension()
        .map(|extension| extension.to_string_lossy().to_lowercase());
    extension.is_some_and(|extension| EXTENSIONS.contains(&extension.as_str()))
}
