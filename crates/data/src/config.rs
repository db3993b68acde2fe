//! What to read and how: the part of a recipe that names the data.

use crate::DataError;
use crate::shape::{check_channels, check_side};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What to read and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// The layout of the files.
    pub kind: DataKind,
    /// The folder or file. A leading `~/` is the user's home.
    pub path: PathBuf,
    /// Which part of the set.
    #[serde(default)]
    pub split: Split,
    /// The side in pixels of the square images that come out; without it they keep their own size,
    /// which must then be the same for all. IDX images are padded with black when smaller; of all
    /// others the square in the middle is taken and resized (Lanczos).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<usize>,
    /// 1 (grey) or 3 (RGB); by default 1 for IDX, 3 for CIFAR-10 and for image files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<usize>,
    /// At most this many images, spread evenly over the set, so that a set sorted by class keeps
    /// all its classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// The column of parquet files that holds the images, such as `edited_image`; `image` or `img`
    /// by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// The classes' names in label order, instead of those that the files give.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_names: Option<Vec<String>>,
}

/// The layout of a dataset's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DataKind {
    /// The four official Fashion-MNIST files in a folder, gzipped or not.
    FashionMnist,
    /// The four official MNIST files in a folder, gzipped or not.
    Mnist,
    /// Files in MNIST's format: a folder with MNIST's file names, or one images file whose labels,
    /// if any, are next to it under the same name with `images-idx3` replaced by `labels-idx1`.
    Idx,
    /// The official binary version of CIFAR-10: `data_batch_1.bin` to `data_batch_5.bin` and
    /// `test_batch.bin`.
    Cifar10,
    /// A folder with one sub-folder of image files per class; or only image files, which are then
    /// unlabelled.
    Folder,
    /// Hugging Face parquet: a file, or a folder of them, with columns `image` and `label`.
    Parquet,
    /// Images with captions, for text-to-image models: see [`Captioned`](crate::Captioned).
    Captioned,
}

/// Which part of a dataset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// The part to train on.
    #[default]
    Train,
    /// The part held out; `val` and `validation` are accepted names for it in folders and parquet
    /// files.
    Test,
}

impl Split {
    /// The names of folders and file prefixes that hold this part, the preferred one first.
    pub(crate) fn names(self) -> &'static [&'static str] {
        match self {
            Self::Train => &["train", "training"],
            Self::Test => &["test", "val", "validation", "valid"],
        }
    }
}

/// Refuses numbers and keys that make no sense, whatever is in the files.
pub(crate) fn check(config: &DataConfig, origin: &str) -> Result<(), DataError> {
    config
        .size
        .map_or(Ok(()), |side| check_side(side, origin))?;
    config
        .channels
        .map_or(Ok(()), |channels| check_channels(channels, origin))?;
    if config.limit == Some(0) {
        let expected = "at least 1 image".into();
        return Err(DataError::Config {
            key: "limit",
            got: "0".into(),
            origin: origin.into(),
            expected,
        });
    }

    if let (Some(column), false) = (
        &config.column,
        matches!(config.kind, DataKind::Parquet | DataKind::Captioned),
    ) {
        return Err(DataError::Config {
            key: "column",
            got: column.clone(),
            origin: origin.into(),
            expected: "none: only `kind = \"parquet\"` has columns".into(),
        });
    }
    Ok(())
}

/// A path whose leading `~/` is the user's home.
pub fn expand_home(path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), std::env::home_dir()) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path.to_path_buf(),
    }
}
