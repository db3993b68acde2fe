//! What to read and how: the part of a recipe that names the data.

use crate::checks::{check_channels, check_side};
use crate::image::{Content, Decoding, Fit, MAX_PIXELS};
use crate::{DataError, ImageShape};
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
    /// which must then be the same for all. IDX images are padded with black when smaller; all
    /// others are resized (Lanczos), as `fit` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<usize>,
    /// How image files of another aspect ratio become squares of `size`; so do the images that are
    /// given with them.
    #[serde(default, skip_serializing_if = "Fit::is_default")]
    pub fit: Fit,
    /// 1 (grey) or 3 (RGB); by default 1 for IDX, 3 for CIFAR-10 and for image files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<usize>,
    /// At most this many images, spread evenly over the set, so that a set sorted by class keeps
    /// all its classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// The column of parquet files that holds the images, such as `edited_image`; `image` or `img`
    /// by default. In tars, the ending of the images' names, such as `jpg`, where examples have
    /// several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// The column of parquet files that holds the labels, such as `fine_label`; `label` or `labels`
    /// by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Whether the classes of the images count; without them a labelled set is one of images only,
    /// as a model without classes needs it.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub labels: bool,
    /// What holds the captions: the column of parquet files, the key of a list or of the JSON in
    /// tars, or the ending of text files; usual names by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caption: Option<String>,
    /// How many pixels an image file may have; [`MAX_PIXELS`](crate::image::MAX_PIXELS) by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_pixels: Option<u64>,
    /// A file with the names of examples to leave out, one on each line, as
    /// [`Survey::skip_list`](crate::Survey::skip_list) writes it; for image files, tars and parquet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip: Option<PathBuf>,
    /// Where latents of the images are kept: a folder, or for images in object storage a place there
    /// too; the user's cache folder by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<String>,
    /// How many bytes the images may take in memory; not stored, and no limit by default.
    #[serde(skip)]
    pub max_bytes: Option<u64>,
    /// The classes' names in label order, instead of those that the files give.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_names: Option<Vec<String>>,
}

fn yes() -> bool {
    true
}

impl DataConfig {
    /// All of the training part of a set, as it is.
    pub fn new(kind: DataKind, path: impl Into<PathBuf>) -> Self {
        Self {
            kind,
            path: path.into(),
            split: Split::Train,
            size: None,
            fit: Fit::Crop,
            channels: None,
            limit: None,
            column: None,
            label: None,
            labels: true,
            caption: None,
            max_pixels: None,
            skip: None,
            cache: None,
            max_bytes: None,
            class_names: None,
        }
    }

    /// Refuses images that take more memory than `max_bytes`.
    pub(crate) fn check_memory(
        &self,
        images: usize,
        shape: ImageShape,
        origin: &str,
    ) -> Result<(), DataError> {
        let sides = [shape.channels, shape.height, shape.width];
        let needed = sides.iter().fold(images as u64, |product, side| {
            product.saturating_mul(*side as u64)
        });
        match self.max_bytes.filter(|most| needed > *most) {
            None => Ok(()),
            Some(most) => Err(DataError::Memory {
                origin: origin.into(),
                images,
                shape,
                needed,
                most,
            }),
        }
    }

    /// How image files are decoded for this set.
    pub(crate) fn decoding(&self, content: Content) -> Decoding {
        Decoding {
            size: self.size,
            fit: self.fit,
            content,
            max_pixels: self.max_pixels.unwrap_or(MAX_PIXELS),
        }
    }
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
    /// Hugging Face parquet: a file, or a folder of them, with columns `image` and `label` (or those
    /// that `column` and `label` name).
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
    /// The part held out; folders and files may also call it `testing`, `val`, `validation`,
    /// `valid`, `dev` or `eval`.
    Test,
}

/// Refuses numbers and keys that make no sense, whatever is in the files.
pub(crate) fn check(config: &DataConfig, origin: &str) -> Result<(), DataError> {
    config
        .size
        .map_or(Ok(()), |side| check_side(side, origin))?;
    config
        .channels
        .map_or(Ok(()), |channels| check_channels(channels, origin))?;
    let misfit = |key, got: &str, expected: &str| DataError::Config {
        key,
        got: got.into(),
        origin: origin.into(),
        expected: expected.into(),
    };
    if config.path.as_os_str().is_empty() {
        return Err(DataError::Config {
            key: "path",
            got: "an empty text".into(),
            origin: "a set".into(),
            expected: "a folder or a file".into(),
        });
    }
    if config.limit == Some(0) {
        return Err(misfit("limit", "0", "at least 1 image"));
    }
    let files = [DataKind::Folder, DataKind::Parquet, DataKind::Captioned];
    let fitted = config.size.is_some() && files.contains(&config.kind);
    if !config.fit.is_default() && !fitted {
        let expected = "`size`, and image files: a folder, parquet or captioned images";
        return Err(misfit("fit", &format!("{:?}", config.fit), expected));
    }
    if let (Some(skip), false) = (&config.skip, files.contains(&config.kind)) {
        let expected = "none: only image files, tars and parquet have examples with names";
        return Err(misfit("skip", &skip.display().to_string(), expected));
    }
    if config.max_pixels == Some(0) {
        return Err(misfit("max_pixels", "0", "at least 1 pixel"));
    }
    let texts = config.kind == DataKind::Captioned;
    let named = config.label.is_some() || config.class_names.is_some();
    if !config.labels && (named || texts) {
        let expected = "true, or a set of images without `label`, `class_names` and captions";
        return Err(misfit("labels", "false", expected));
    }
    let columns = texts || config.kind == DataKind::Parquet;
    let needs: [(_, _, _, &str); 3] = [
        (
            "column",
            &config.column,
            columns,
            "none: only `kind = \"parquet\"` has columns",
        ),
        (
            "label",
            &config.label,
            config.kind == DataKind::Parquet,
            "none: only `kind = \"parquet\"` has a column of labels",
        ),
        (
            "caption",
            &config.caption,
            texts,
            "none: only `kind = \"captioned\"` has captions",
        ),
    ];
    for (key, name, fits, expected) in needs {
        if let (Some(name), false) = (name, fits) {
            return Err(misfit(key, name, expected));
        }
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
