//! A folder of images with one sub-folder per class, or a flat folder of unlabelled images.

use crate::captioned::has_list;
use crate::collector::{CHUNK, ImageCollector};
use crate::config::{check, expand_home};
use crate::dataset::spread;
use crate::input::{MAX_IMAGE_FILE, read_bytes};
use crate::listing::{FORMATS_HINT, Listing, entries};
use crate::skip::{Skip, name_of};
use crate::splits::split_folder;
use crate::{DataConfig, DataError, Dataset, ImageShape};
use std::path::{Path, PathBuf};

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
    let (items, _) = list(&folder, config)?;
    let items = keep(items, config.limit.unwrap_or(usize::MAX));
    Ok((folder, items.into_iter().map(|item| item.path).collect()))
}

/// Reads the images below `folder`, sorted by class and path. Where sub-folders are named after
/// splits (`train`, `test`, `val`), only the folder of `split` is read.
pub(crate) fn read(folder: &Path, config: &DataConfig) -> Result<Dataset, DataError> {
    let folder = &split_folder(folder, config.split)?;
    let (items, classes) = list(folder, config)?;
    let items: Vec<Item> = keep(items, config.limit.unwrap_or(usize::MAX));
    let (shape, pixels) = decode(folder, &items, config)?;
    let labels = items.iter().map(|item| item.label).collect();
    let name = folder.display().to_string();
    Dataset::from_parts(name, shape, pixels, labels, classes)
}

/// All images of the folder that `config` names, without classes, in the order of their paths: those
/// in it, or where it has none those in its sub-folders, whatever these are called.
///
/// # Errors
/// A folder that cannot be read or has no images; unreadable images; images of different sizes
/// without `size`.
pub fn load_images(config: &DataConfig) -> Result<Dataset, DataError> {
    let folder = &expand_home(&config.path);
    let name = folder.display().to_string();
    check(config, &name)?;
    let (folders, files): (Vec<PathBuf>, Vec<PathBuf>) =
        entries(folder)?.into_iter().partition(|path| path.is_dir());
    let mut listing = Listing::default();
    files.into_iter().for_each(|path| listing.push(path));
    let here = listing.images.len();
    for below in folders {
        listing.extend(&below)?;
    }
    let below = listing.images.len() - here;
    if here > 0 && below > 0 {
        tracing::warn!(folder = %folder.display(), "the {here} images in the folder count, and not the {below} in its sub-folders");
        listing.images.truncate(here);
    }
    listing.warn(folder);
    let items = listing.images.into_iter();
    let items = items.map(|path| Item { path, label: None }).collect();
    let items = keep(items, config.limit.unwrap_or(usize::MAX));
    let (shape, pixels) = decode(folder, &items, config)?;
    Dataset::from_parts(name, shape, pixels, None, Vec::new())
}

/// The common shape and the pixels of these images.
fn decode(
    folder: &Path,
    items: &[Item],
    config: &DataConfig,
) -> Result<(ImageShape, Vec<u8>), DataError> {
    let name = folder.display().to_string();
    let mut collector = ImageCollector::new(config);
    collector.check_memory(items.len(), &name)?;
    for chunk in items.chunks(CHUNK) {
        let fetch = |item: &Item| read_bytes(&item.path, MAX_IMAGE_FILE);
        collector.extend(chunk, fetch, |item| item.path.display().to_string())?;
    }
    match collector.finish() {
        (Some(shape), pixels) => Ok((shape, pixels)),
        (None, _) => Err(DataError::Empty {
            origin: name,
            hint: FORMATS_HINT.into(),
        }),
    }
}

fn keep(items: Vec<Item>, limit: usize) -> Vec<Item> {
    let mut kept = spread(items.len(), limit).peekable();
    let numbered = items.into_iter().enumerate();
    numbered
        .filter(|(i, _)| kept.next_if_eq(i).is_some())
        .map(|(_, item)| item)
        .collect()
}

/// What a folder holds.
pub(crate) struct Found {
    pub(crate) items: Vec<Item>,
    /// The names of the classes.
    pub(crate) classes: Vec<String>,
    /// Folders of classes without images.
    pub(crate) empty: Vec<PathBuf>,
}

/// All image files with their labels that are not left out, and the names of the classes.
pub(crate) fn list(
    folder: &Path,
    config: &DataConfig,
) -> Result<(Vec<Item>, Vec<String>), DataError> {
    let found = scan(folder, config, &Skip::of(config)?)?;
    match found.empty.first() {
        None => Ok((found.items, found.classes)),
        Some(class) => Err(DataError::Empty {
            origin: class.display().to_string(),
            hint: format!("every sub-folder is a class; {FORMATS_HINT}; remove it or fill it"),
        }),
    }
}

/// The same, with the classes that have no images.
pub(crate) fn scan(folder: &Path, config: &DataConfig, skip: &Skip) -> Result<Found, DataError> {
    let all = entries(folder)?;
    let (class_folders, files): (Vec<PathBuf>, Vec<PathBuf>) =
        all.into_iter().partition(|path| path.is_dir());
    let mut listing = Listing::default();
    files.into_iter().for_each(|path| listing.push(path));
    let mut found = Found {
        items: vec![],
        classes: vec![],
        empty: vec![],
    };
    let kept = |path: &PathBuf| !skip.has(&name_of(path, config));
    if class_folders.is_empty() && listing.images.is_empty() {
        return Err(listing.no_images(folder, FORMATS_HINT));
    }
    if class_folders.is_empty() {
        listing.warn(folder);
        if has_list(folder) {
            tracing::warn!(folder = %folder.display(), "the list in it (metadata.jsonl or metadata.csv) is not read, and the images have no classes: for its captions use `kind = \"captioned\"`; for its labels put the images of each class into a folder of its name");
        }
        let images = listing.images.into_iter().filter(kept);
        found.items = images.map(|path| Item { path, label: None }).collect();
        return Ok(found);
    }
    if !listing.images.is_empty() {
        tracing::warn!(folder = %folder.display(), "{} images outside the class folders are ignored", listing.images.len());
        listing.images.clear();
    }
    for (label, class_folder) in (0..).zip(class_folders) {
        let name = class_folder.file_name().unwrap_or_default();
        found.classes.push(name.to_string_lossy().into_owned());
        listing.extend(&class_folder)?;
        let images = listing.images.drain(..).filter(kept);
        let before = found.items.len();
        let label = Some(label);
        found.items.extend(images.map(|path| Item { path, label }));
        if found.items.len() == before {
            found.empty.push(class_folder);
        }
    }
    listing.warn(folder);
    Ok(found)
}
