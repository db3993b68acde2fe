//! Which folders and files of a set are those of a split, by their names.

use crate::listing::entries;
use crate::{DataError, Split};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const SPLITS: [Split; 2] = [Split::Train, Split::Test];

impl Split {
    /// The names of folders and the words in names of files that say this part, the preferred one
    /// first.
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Train => &["train", "training"],
            Self::Test => &[
                "test",
                "testing",
                "val",
                "validation",
                "valid",
                "dev",
                "eval",
            ],
        }
    }
}

/// The split of this name.
fn known(name: &str) -> Option<Split> {
    let is = |split: &Split| split.names().iter().any(|n| n.eq_ignore_ascii_case(name));
    SPLITS.into_iter().find(is)
}

/// The name of a split that a folder has.
fn folder_name(folder: &Path) -> Option<String> {
    let name = folder.file_name()?.to_string_lossy().to_lowercase();
    known(&name).map(|_| name)
}

/// The name of a split that a file has as a word, as in `train-00000-of-00004.parquet` and
/// `cc3m_train0001.tar`.
fn file_name(file: &Path) -> Option<String> {
    let stem = file.file_stem()?.to_string_lossy().to_lowercase();
    let mut words = stem.split(|c: char| !c.is_alphabetic());
    words.find(|word| known(word).is_some()).map(String::from)
}

/// The ones of `paths` that have the preferred name of those of the split that occur.
fn preferred(
    paths: &[PathBuf],
    split: Split,
    name: fn(&Path) -> Option<String>,
) -> Option<Vec<PathBuf>> {
    let of = |wanted: &&str| -> Vec<PathBuf> {
        let has = |path: &&PathBuf| name(path).as_deref() == Some(wanted);
        paths.iter().filter(has).cloned().collect()
    };
    split.names().iter().map(of).find(|found| !found.is_empty())
}

/// The sub-folder of the split, where a folder is divided: all its sub-folders are named after
/// splits, or two of them at least, and then the others are left out. None where it is not divided.
///
/// # Errors
/// A divided folder without this split.
pub(crate) fn sub_folder(folder: &Path, split: Split) -> Result<Option<PathBuf>, DataError> {
    let mut inside = entries(folder)?;
    inside.retain(|path| path.is_dir());
    let (parts, others): (Vec<PathBuf>, _) = inside
        .into_iter()
        .partition(|path| folder_name(path).is_some());
    match (parts.len(), others.len()) {
        (0, _) => return Ok(None),
        (_, 0) => {}
        (1, _) => {
            tracing::warn!(folder = %folder.display(), "`{}` is treated as a class, because only one folder is named like a split: set `path` to it if the others are no part of the set", names(&parts));
            return Ok(None);
        }
        _ => {
            tracing::warn!(folder = %folder.display(), "left out, next to folders of splits: {}", names(&others));
        }
    }
    let part = preferred(&parts, split, folder_name);
    let part = part.and_then(|found| found.into_iter().next());
    part.map(Some).ok_or_else(|| no_folder(folder, split))
}

/// The sub-folder of the split, where a folder is divided; else the folder itself, which is one to
/// train on.
pub(crate) fn split_folder(folder: &Path, split: Split) -> Result<PathBuf, DataError> {
    match (sub_folder(folder, split)?, split) {
        (Some(part), _) => Ok(part),
        (None, Split::Train) => Ok(folder.to_path_buf()),
        (None, Split::Test) => Err(no_folder(folder, split)),
    }
}

pub(crate) fn no_folder(folder: &Path, split: Split) -> DataError {
    DataError::Missing {
        path: folder.to_path_buf(),
        wanted: format!("sub-folder named `{}`", split.names().join("` or `")),
        hint: "add one, or set `path` to the folder with the images and leave `split` at \"train\""
            .into(),
    }
}

/// The folder of the split within a file that holds others, such as a tar, from the folders of all its
/// examples: as with [`sub_folder`], below the folders that all have in common. None where it is not
/// divided.
///
/// # Errors
/// What the parts are called, where none is this split's.
pub(crate) fn part_within(
    folders: &BTreeSet<&str>,
    split: Split,
) -> Result<Option<PathBuf>, String> {
    let mut inside: BTreeSet<PathBuf> = folders.iter().map(PathBuf::from).collect();
    let mut above = PathBuf::new();
    loop {
        let tops: BTreeSet<PathBuf> = inside
            .iter()
            .map(|path| path.iter().take(1).collect())
            .collect();
        let (parts, others): (Vec<PathBuf>, Vec<PathBuf>) =
            tops.into_iter().partition(|top| folder_name(top).is_some());
        match (&parts[..], &others[..]) {
            // One folder around all others.
            ([], [only]) if only.iter().next().is_some() => {
                inside = inside
                    .iter()
                    .map(|path| path.iter().skip(1).collect())
                    .collect();
                above.push(only);
            }
            ([], _) | ([_], [_, ..]) => return Ok(None),
            _ => {
                let part = preferred(&parts, split, folder_name);
                let part = part.and_then(|found| found.into_iter().next());
                return match part {
                    Some(part) => Ok(Some(above.join(part))),
                    None => Err(names(&parts)),
                };
            }
        }
    }
}

/// The files of the split among all `files` with this `ending` in a folder. Files without the name
/// of a split are to train on, if no file is named so.
///
/// # Errors
/// No file for the split.
pub(crate) fn split_files(
    folder: &Path,
    files: Vec<PathBuf>,
    ending: &str,
    split: Split,
) -> Result<Vec<PathBuf>, DataError> {
    let (named, others): (Vec<PathBuf>, Vec<PathBuf>) = files
        .into_iter()
        .partition(|file| file_name(file).is_some());
    match (preferred(&named, split, file_name), split) {
        (Some(chosen), _) => {
            if !others.is_empty() {
                tracing::warn!(folder = %folder.display(), "left out, next to files of splits: {}", names(&others));
            }
            Ok(chosen)
        }
        (None, Split::Train) if !others.is_empty() => Ok(others),
        (None, _) => Err(no_file(folder, ending, split)),
    }
}

pub(crate) fn no_file(folder: &Path, ending: &str, split: Split) -> DataError {
    let names = split
        .names()
        .iter()
        .map(|name| format!("`{name}-*.{ending}`"));
    DataError::Missing {
        path: folder.to_path_buf(),
        wanted: format!(
            "`*.{ending}` file for the split ({})",
            names.collect::<Vec<_>>().join(", ")
        ),
        hint: format!("set `path` to the folder of the {ending} files, or to one file"),
    }
}

/// A few names of many, for a message.
fn names(paths: &[PathBuf]) -> String {
    const NAMED: usize = 5;
    let name = |path: &PathBuf| {
        path.file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into()
    };
    let mut names: Vec<String> = paths.iter().take(NAMED).map(name).collect();
    if paths.len() > NAMED {
        names.push(format!("and {} more", paths.len() - NAMED));
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(names: &[&str], split: Split) -> Option<Vec<String>> {
        let files = names.iter().map(PathBuf::from).collect();
        let found = split_files(Path::new("set"), files, "tar", split).ok()?;
        Some(
            found
                .iter()
                .map(|file| file.display().to_string())
                .collect(),
        )
    }

    #[test]
    fn parts_within_a_file_are_found_below_common_folders() {
        let part = |folders: &[&str], split| {
            let found = part_within(&folders.iter().copied().collect(), split);
            found.map(|part| part.map(|part| part.display().to_string()))
        };
        let some = |part: &str| Ok(Some(part.to_string()));
        let both = ["set/train/cats", "set/train/dogs", "set/Validation"];
        assert_eq!(part(&both, Split::Train), some("set/train"));
        assert_eq!(part(&both, Split::Test), some("set/Validation"));
        assert_eq!(part(&["dev", "test", ""], Split::Test), some("test"));
        assert_eq!(part(&["train"], Split::Test), Err("train".into()));
        for whole in [
            &["a", "b"][..],
            &["set/a"],
            &[""],
            &["set"],
            &["test", "cats"],
        ] {
            assert_eq!(part(whole, Split::Train), Ok(None), "{whole:?}");
        }
    }

    #[test]
    fn files_of_a_split_have_its_name_as_a_word() {
        let both = ["a-train-0.tar", "a-train-1.tar", "a-val-0.tar", "extra.tar"];
        assert_eq!(chosen(&both, Split::Train).unwrap(), both[..2]);
        assert_eq!(chosen(&both, Split::Test).unwrap(), both[2..3]);
        let glued = ["Train000.tar", "test000.tar", "validation000.tar"];
        assert_eq!(chosen(&glued, Split::Train).unwrap(), glued[..1]);
        assert_eq!(chosen(&glued, Split::Test).unwrap(), glued[1..2]);
        let unnamed = ["trainable.tar", "latest.tar"];
        assert_eq!(chosen(&unnamed, Split::Train).unwrap(), unnamed);
        assert_eq!(chosen(&unnamed, Split::Test), None);
        // What is held out is not trained on, whatever the rest is called.
        let one = ["0.tar", "test.tar"];
        assert_eq!(chosen(&one, Split::Train).unwrap(), one[..1]);
        assert_eq!(chosen(&one[1..], Split::Train), None);
    }
}
