//! Images with captions, or with classes whose names are their captions. They are read one after
//! another, since these sets are too big for memory.

mod check;
mod contents;
mod csv;
mod example;
mod files;
mod location;
mod metadata;
mod parts;
mod shard;
mod tars;

use rayon::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::collector::CHUNK;
use crate::config::{check, expand_home};
use crate::dataset::spread;
use crate::image::{Content, Decoding, Image};
use crate::pairs::{GivenImages, GivenKind};
use crate::skip::Skip;
use crate::{DataConfig, DataError, DataKind, Dataset, ImageShape};
pub use contents::{Check, Contents};
pub use example::Example;
use example::Named;
pub(crate) use metadata::is_in as has_list;
use shard::Shard;

/// A set of images with captions. Only the names of its files are in memory.
#[derive(Debug)]
pub struct Captioned {
    shards: Vec<Shard>,
    name: String,
    size: usize,
    channels: usize,
    limit: usize,
    config: DataConfig,
    images: Decoding,
    given: Option<GivenKind>,
    skip: Skip,
    /// The classes whose names are the captions; empty if the set has captions.
    classes: Arc<[String]>,
}

impl Captioned {
    /// Finds the parts of the set that `config` names: a folder with `metadata.jsonl` or
    /// `metadata.csv` (`file_name` with `text` or `caption`), image files each with a `.txt` or
    /// `.caption` next to it, WebDataset tars (an image with `txt`, `text`, `caption` or `json`),
    /// or parquet files with `image` and `text` or `caption`.
    ///
    /// # Errors
    /// A path with none of these; settings that do not fit captioned data.
    pub fn open(config: &DataConfig) -> Result<Self, DataError> {
        Self::paired(config, None)
    }

    /// The same with the images that are given in pairs with them. The location's `path` is a
    /// folder with an image under the name of each image; its `column` names a key of
    /// `metadata.jsonl` (a file below `path`, or next to the list), a column of parquet files, or
    /// what follows an example's name in a tar, such as `source.png`.
    ///
    /// # Errors
    /// As [`Captioned::open`], and where sets of this layout cannot have given images.
    pub fn paired(config: &DataConfig, given: Option<GivenImages<'_>>) -> Result<Self, DataError> {
        let path = expand_home(&config.path);
        let origin = path.display().to_string();
        let misfit = |key, got: String, expected: &str| DataError::Config {
            key,
            got,
            origin: origin.clone(),
            expected: expected.into(),
        };
        if config.kind != DataKind::Captioned {
            let got = format!("{:?}", config.kind);
            let expected = "\"captioned\", since the model is trained on captions";
            return Err(misfit("data.kind", got, expected));
        }
        if let Some(names) = &config.class_names {
            let expected = "none: captioned images have no classes";
            return Err(misfit("class_names", format!("{names:?}"), expected));
        }
        let shards = Shard::captioned(&path, config, given.map(|given| given.location))?;
        if shards.is_empty() {
            return Err(DataError::Empty {
                origin,
                hint: files::LAYOUTS.into(),
            });
        }
        let kind = given.map(|given| given.kind);
        Self::of(shards, config, kind, Arc::new([]))
    }

    /// One tar or parquet file of a captioned set. `config` names the set's folder.
    ///
    /// # Errors
    /// As [`Captioned::open`].
    pub(crate) fn of_archive(file: &Path, config: &DataConfig) -> Result<Self, DataError> {
        let shards = Shard::captioned(file, config, None)?;
        Self::of(shards, config, None, Arc::new([]))
    }

    /// One of the labelled parquet files of a set, for a model with these classes. `config` names the
    /// set's folder.
    ///
    /// # Errors
    /// As [`Captioned::labelled`], and where the classes follow only from all files.
    pub(crate) fn of_labelled_archive(
        file: &Path,
        config: &DataConfig,
        model: &[String],
    ) -> Result<Self, DataError> {
        let shards = Shard::labelled_part(file, config, model)?;
        Self::of(shards, config, None, model.into())
    }

    /// A folder with one sub-folder of image files per class, or labelled parquet files, for a
    /// model with these classes.
    ///
    /// # Errors
    /// Another layout, a set without labels or with other classes, and settings that do not fit the
    /// data.
    pub fn labelled(config: &DataConfig, model: &[String]) -> Result<Self, DataError> {
        let shards = Shard::labelled(&expand_home(&config.path), config, model)?;
        Self::of(shards, config, None, model.into())
    }

    /// These images, whose labels are the numbers of classes `found`, for a model with these
    /// classes.
    ///
    /// # Errors
    /// Other classes than the model's, and settings that do not fit the data.
    pub(crate) fn of_classes(
        images: Vec<(PathBuf, u32)>,
        config: &DataConfig,
        found: &[String],
        model: &[String],
    ) -> Result<Self, DataError> {
        let shard = Shard::of_classes(images, config, found, model)?;
        Self::of(vec![shard], config, None, model.into())
    }

    fn of(
        shards: Vec<Shard>,
        config: &DataConfig,
        given: Option<GivenKind>,
        classes: Arc<[String]>,
    ) -> Result<Self, DataError> {
        let name = expand_home(&config.path).display().to_string();
        check(config, &name)?;
        let Some(size) = config.size else {
            return Err(DataError::Config {
                key: "size",
                got: "nothing".into(),
                origin: name,
                expected: "the side in pixels that images are brought to".into(),
            });
        };
        let channels = config.channels.unwrap_or(3);
        Ok(Self {
            shards,
            name,
            size,
            channels,
            images: config.decoding(Content::Images(channels)),
            limit: config.limit.unwrap_or(usize::MAX),
            config: config.clone(),
            given,
            skip: Skip::of(config)?,
            classes,
        })
    }

    /// The same set under another name.
    pub(crate) fn named(self, name: String) -> Self {
        Self { name, ..self }
    }

    /// What to call the set in messages and reports.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The names of all classes; empty if the set has captions.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The side of its images.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The channels of its images.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// All images in order, `chunk` of them at a time, decoded in parallel.
    pub fn images(&self, chunk: usize) -> impl Iterator<Item = Result<Vec<Image>, DataError>> + '_ {
        self.decoded(chunk, Self::decode)
    }

    /// All images in memory, for a set that is small enough.
    ///
    /// # Errors
    /// When one of them cannot be read or decoded.
    pub fn dataset(&self) -> Result<Dataset, DataError> {
        let shape = ImageShape {
            channels: self.channels,
            height: self.size,
            width: self.size,
        };
        // No more at once than a gigabyte.
        let chunk = ((1 << 30) / shape.len()).clamp(1, CHUNK);
        let mut pixels = vec![];
        for images in self.images(chunk) {
            pixels.extend(images?.into_iter().flat_map(|image| image.pixels));
            let read = pixels.len() / shape.len();
            self.config.check_memory(read, shape, &self.name)?;
        }
        Dataset::from_parts(self.name.clone(), shape, pixels, None, vec![])
    }

    /// Whether images are given in pairs with its own.
    pub(crate) fn has_given(&self) -> bool {
        self.given.is_some()
    }

    /// The given images, or where there are none its own, in order, `chunk` of them at a time.
    pub(crate) fn sources(
        &self,
        chunk: usize,
    ) -> impl Iterator<Item = Result<Vec<Image>, DataError>> + '_ {
        self.decoded(chunk, Self::decode_source)
    }

    /// The shape of each of these.
    pub(crate) fn source_shape(&self) -> ImageShape {
        ImageShape {
            channels: match self.given {
                Some(GivenKind::DepthMaps) => 1,
                Some(GivenKind::Images) | None => self.channels,
            },
            height: self.size,
            width: self.size,
        }
    }

    fn decoded(
        &self,
        chunk: usize,
        decode: fn(&Self, &Example) -> Result<Image, DataError>,
    ) -> impl Iterator<Item = Result<Vec<Image>, DataError>> + '_ {
        let mut examples = self.stored();
        std::iter::from_fn(move || {
            let chunk: Vec<_> = examples.by_ref().take(chunk.max(1)).collect();
            let decode = |(_, example): Named| decode(self, &example?);
            (!chunk.is_empty()).then(|| chunk.into_par_iter().map(decode).collect())
        })
    }

    fn decode_source(&self, example: &Example) -> Result<Image, DataError> {
        let Some(given) = &example.given else {
            return self.decode(example);
        };
        let content = match self.given {
            Some(GivenKind::DepthMaps) => Content::DepthMaps,
            Some(GivenKind::Images) | None => self.images.content,
        };
        let decoding = Decoding {
            content,
            ..self.images
        };
        decoding.image(given, &given_with(example))
    }

    fn decode(&self, example: &Example) -> Result<Image, DataError> {
        self.images.image(&example.image, &example.origin)
    }

    /// The examples that are not left out and that the limit keeps.
    fn stored(&self) -> Box<dyn Iterator<Item = Named> + Send + '_> {
        let all = self.shards.iter().enumerate();
        let all = all.flat_map(|(number, shard)| shard.examples(number + 1));
        let all = all.filter(|(name, _)| !self.skip.has(name));
        if self.limit == usize::MAX {
            return Box::new(all);
        }
        let total = self.shards.iter().map(|shard| shard.len(&self.skip)).sum();
        let mut kept = spread(total, self.limit).peekable();
        let keep = move |(i, named): (usize, Named)| {
            (kept.next_if_eq(&i).is_some() || named.1.is_err()).then_some(named)
        };
        Box::new(all.enumerate().filter_map(keep))
    }
}

/// The place of a given image, for messages.
fn given_with(example: &Example) -> String {
    format!("the image given with {}", example.origin)
}
