//! Sets that are elsewhere, such as in object storage: which of their files belong together, and
//! opening some of them where they were copied to.

#[cfg(test)]
mod tests;

use crate::cache::hex;
use crate::captioned::Captioned;
use crate::config::check;
use crate::dataset::spread;
use crate::listing::{FORMATS_HINT, describe, is_clutter, is_image};
use crate::skip::Skip;
use crate::source::check_labels_count;
use crate::splits::{no_folder, part_within, split_files};
use crate::{DataConfig, DataError, DataKind, Split};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Image files of a shard.
const IMAGES: usize = 1024;

/// The files that captioned sets are made of. Those of labelled images are the last of them.
const ARCHIVES: [&str; 2] = ["tar", "parquet"];

fn ends_with(path: &Path, ending: &str) -> bool {
    path.extension()
        .is_some_and(|own| own.eq_ignore_ascii_case(ending))
}

/// Whether a file of this name is a set by itself.
pub fn is_archive(name: &str) -> bool {
    ARCHIVES
        .iter()
        .any(|ending| ends_with(Path::new(name), ending))
}

/// A file of a set that is elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFile {
    /// Its name in the set, with `/` between folders.
    pub name: String,
    /// What is another one once its contents are.
    pub identity: String,
}

/// A set that is elsewhere, in shards that are read one at a time: the tars or parquet files of a
/// captioned set, labelled parquet files, or some images of a folder with a folder for each class. The
/// examples are those of a set on this machine, in the same order.
#[derive(Debug)]
pub struct StoredSet {
    config: DataConfig,
    shards: Vec<Vec<StoredFile>>,
    /// The names of the folders of classes.
    classes: Vec<String>,
    /// The folder in which these are, empty at the top.
    part: PathBuf,
}

impl StoredSet {
    /// The shards of the set that `config` names, among all files below its path.
    ///
    /// # Errors
    /// Kinds of sets and keys that have no meaning for sets elsewhere; no files of the set or of
    /// the split.
    pub fn new(config: &DataConfig, files: Vec<StoredFile>) -> Result<Self, DataError> {
        let origin = config.path.display().to_string();
        check(config, &origin)?;
        if let (Some(limit), DataKind::Captioned | DataKind::Parquet) = (config.limit, config.kind)
        {
            return Err(DataError::Config {
                key: "limit",
                got: limit.to_string(),
                origin,
                expected: "none: examples of tars and parquet files in object storage are not counted before they are read; name fewer files, or one, with `path`".into(),
            });
        }
        let mut files: BTreeMap<PathBuf, StoredFile> = files
            .into_iter()
            .filter(|file| !file.name.split('/').any(is_clutter))
            .map(|file| (PathBuf::from(&file.name), file))
            .collect();
        let set = |config: &DataConfig, shards, classes, part| Self {
            config: config.clone(),
            shards,
            classes,
            part,
        };
        match config.kind {
            DataKind::Captioned | DataKind::Parquet => {
                let names = archives(config, files.keys().cloned().collect())?;
                let mut take = |name| files.remove(name).map(|file| vec![file]);
                let shards = names.iter().filter_map(&mut take).collect();
                Ok(set(config, shards, vec![], PathBuf::new()))
            }
            DataKind::Folder => {
                let (part, names) = images(config, files.keys().cloned().collect())?;
                let of_class = |name: &PathBuf| {
                    let class = name.strip_prefix(&part).ok()?.iter().next()?;
                    Some(class.to_string_lossy().into_owned())
                };
                let classes: BTreeSet<String> = names.iter().filter_map(of_class).collect();
                let names = limited(config, names, &files)?;
                let take = |names: &[PathBuf]| {
                    let files = names.iter().filter_map(|name| files.remove(name));
                    files.collect()
                };
                let shards = names.chunks(IMAGES).map(take).collect();
                Ok(set(config, shards, classes.into_iter().collect(), part))
            }
            other => Err(DataError::Config {
                key: "kind",
                got: format!("{other:?}"),
                origin,
                expected: "\"captioned\" (.tar or .parquet files), \"parquet\" or \"folder\" (a folder of images for each class): other sets are read from a folder of this machine".into(),
            }),
        }
    }

    /// The files of each shard.
    pub fn shards(&self) -> &[Vec<StoredFile>] {
        &self.shards
    }

    /// The first 16 hexadecimal digits of a digest of all that the examples of a shard depend on.
    ///
    /// # Errors
    /// When the list of examples to leave out cannot be read.
    pub fn identity(&self, shard: usize) -> Result<String, DataError> {
        let DataConfig {
            kind,
            split,
            size,
            fit,
            channels,
            column,
            caption,
            label,
            skip,
            ..
        } = &self.config;
        let skipped = match skip {
            Some(file) => crate::read_text(&crate::expand_home(file))?,
            None => String::new(),
        };
        let mut hash = Sha256::new();
        let mut settings = format!(
            "{kind:?} {split:?} {size:?} {fit:?} {channels:?} {column:?} {caption:?} {skipped}"
        );
        // Other kinds have none, and keep the identities of earlier versions.
        if let Some(label) = label {
            settings.push_str(&format!(" {label}"));
        }
        // Classes are matched with the model's, which may be others.
        let classes = format!("{:?} {:?}", self.classes, self.config.class_names);
        let files = self.shards[shard].iter();
        let files = files.flat_map(|file| [file.name.as_str(), &file.identity]);
        for text in [&*settings, &*classes].into_iter().chain(files) {
            hash.update(text.len().to_le_bytes());
            hash.update(text);
        }
        Ok(hex(&hash.finalize()[..8]))
    }

    /// The examples of a shard whose files were copied into `folder` under their names, for a model
    /// with these classes; empty for one that reads captions.
    ///
    /// # Errors
    /// As [`Captioned::open`] and [`Captioned::labelled`], and where which class is which follows
    /// only from all files.
    pub fn open(
        &self,
        shard: usize,
        folder: &Path,
        model: &[String],
    ) -> Result<Captioned, DataError> {
        let config = DataConfig {
            path: folder.into(),
            limit: None,
            ..self.config.clone()
        };
        let named = |set: Captioned| set.named(self.config.path.display().to_string());
        let files = &self.shards[shard];
        match (config.kind, &files[..]) {
            (DataKind::Captioned, [file]) => {
                return Captioned::of_archive(&folder.join(&file.name), &config).map(named);
            }
            // Refused as it is on this machine.
            _ if model.is_empty() => return Captioned::open(&config).map(named),
            _ => check_labels_count(&self.config)?,
        }
        if let (DataKind::Parquet, [file]) = (config.kind, &files[..]) {
            let file = folder.join(&file.name);
            return Captioned::of_labelled_archive(&file, &config, model).map(named);
        }
        let labelled = files.iter().map(|file| {
            let class = Path::new(&file.name).strip_prefix(&self.part).ok();
            let class = class.and_then(|name| name.iter().next());
            let class = class.unwrap_or_default().to_string_lossy();
            let label = self.classes.iter().position(|known| *known == class);
            (folder.join(&file.name), label.unwrap_or_default() as u32)
        });
        Captioned::of_classes(labelled.collect(), &config, &self.classes, model).map(named)
    }
}

/// The images that the limit keeps, of all that are not left out.
fn limited(
    config: &DataConfig,
    mut names: Vec<PathBuf>,
    files: &BTreeMap<PathBuf, StoredFile>,
) -> Result<Vec<PathBuf>, DataError> {
    let Some(limit) = config.limit else {
        return Ok(names);
    };
    let skip = Skip::of(config)?;
    names.retain(|name| !skip.has(&files[name].name));
    let kept = spread(names.len(), limit);
    Ok(kept.map(|place| names[place].clone()).collect())
}

/// The names of the tars or parquet files of the split, in order.
fn archives(config: &DataConfig, all: Vec<PathBuf>) -> Result<Vec<PathBuf>, DataError> {
    let (endings, layout) = match config.kind {
        DataKind::Parquet => (
            &ARCHIVES[1..],
            "labelled images in object storage are .parquet files",
        ),
        _ => (
            &ARCHIVES[..],
            "captioned images in object storage are .tar files (WebDataset) or .parquet files",
        ),
    };
    let mut found = endings.iter().map(|ending| {
        let of_it = all.iter().filter(|path| ends_with(path, ending));
        (*ending, of_it.cloned().collect::<Vec<_>>())
    });
    let Some((ending, files)) = found.find(|(_, files)| !files.is_empty()) else {
        let found = describe(all.iter().map(PathBuf::as_path));
        let found = found.map_or("nothing".into(), |found| format!("only {found}"));
        return Err(DataError::Empty {
            origin: config.path.display().to_string(),
            hint: format!("{layout}, and there is {found}"),
        });
    };
    match part_of(config, &files)? {
        Some(part) => Ok(files
            .into_iter()
            .filter(|file| file.starts_with(&part))
            .collect()),
        None => split_files(&config.path, files, ending, config.split),
    }
}

/// The folder in which the classes of the split are, and the names of their images, in order.
fn images(config: &DataConfig, all: Vec<PathBuf>) -> Result<(PathBuf, Vec<PathBuf>), DataError> {
    let images: Vec<PathBuf> = all.iter().filter(|name| is_image(name)).cloned().collect();
    let part = part_of(config, &images)?;
    if part.is_none() && config.split == Split::Test {
        return Err(no_folder(&config.path, config.split));
    }
    let part = part.unwrap_or_default();
    let in_class = |name: &PathBuf| {
        let inside = name.strip_prefix(&part);
        inside.is_ok_and(|inside| inside.iter().count() > 1)
    };
    let names: Vec<PathBuf> = images.into_iter().filter(in_class).collect();
    match names.is_empty() {
        false => Ok((part, names)),
        true => {
            let found = describe(all.iter().map(PathBuf::as_path));
            let found = found.map_or("nothing".into(), |found| format!("only {found}"));
            Err(DataError::Empty {
                origin: config.path.display().to_string(),
                hint: format!(
                    "labelled images are in a folder for each class, and there is {found}; {FORMATS_HINT}"
                ),
            })
        }
    }
}

/// The folder of the split, where files are in folders that are named after splits.
fn part_of(config: &DataConfig, files: &[PathBuf]) -> Result<Option<PathBuf>, DataError> {
    let folders: BTreeSet<&str> = files
        .iter()
        .filter_map(|file| file.parent()?.to_str())
        .collect();
    part_within(&folders, config.split).map_err(|_| no_folder(&config.path, config.split))
}
