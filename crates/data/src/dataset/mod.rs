//! A dataset: all its images, in memory, of one shape.

#[cfg(test)]
mod tests;

use crate::checks::{check_channels, check_side};
use crate::classes::{classes_of_labels, match_classes, renamed};
use crate::image::Image;
use crate::{DataError, ImageShape};
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use std::ops::Range;

/// All images of a set, in memory, 8 bit, CHW, with their labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataset {
    /// The shape of every image.
    pub shape: ImageShape,
    pixels: Vec<u8>,
    labels: Option<Vec<u32>>,
    /// The classes' names in label order; empty when the set is unlabelled.
    pub classes: Vec<String>,
    /// What to call the set in messages and reports.
    pub name: String,
}

impl Dataset {
    /// A set from `pixels` ([len, channels, height, width], 8 bit) and, when labelled, one label
    /// per image.
    ///
    /// Labelled images without `classes` get the class names "0", "1", ... up to the largest label.
    ///
    /// # Errors
    /// An empty set, a length that is no whole number of images, a count of labels that differs
    /// from the count of images, a label that is not below `classes.len()`, or a channel count
    /// other than 1 and 3.
    pub fn from_parts(
        name: impl Into<String>,
        shape: ImageShape,
        pixels: Vec<u8>,
        labels: Option<Vec<u32>>,
        mut classes: Vec<String>,
    ) -> Result<Self, DataError> {
        let name = name.into();
        if pixels.is_empty() || shape.is_empty() {
            return Err(DataError::Empty {
                origin: name,
                hint: "give a set that has images".into(),
            });
        }
        check_channels(shape.channels, &name)?;
        if !pixels.len().is_multiple_of(shape.len()) {
            return Err(DataError::Length {
                origin: name,
                expected: format!("a multiple of {} bytes (one image of {shape})", shape.len()),
                got: format!("{} bytes", pixels.len()),
            });
        }
        let images = pixels.len() / shape.len();
        if let Some(labels) = &labels {
            if labels.len() != images {
                return Err(DataError::Count {
                    origin: name,
                    images,
                    labels: labels.len(),
                });
            }
            classes = classes_of_labels(labels, classes, &name)?;
        } else {
            classes.clear();
        }
        Ok(Self {
            shape,
            pixels,
            labels,
            classes,
            name,
        })
    }

    /// How many images there are.
    pub fn len(&self) -> usize {
        self.pixels.len() / self.shape.len()
    }

    /// Whether there are none, which only an empty [`Dataset::subset`] can give.
    pub fn is_empty(&self) -> bool {
        self.pixels.is_empty()
    }

    /// The values of image `i`, [channels, height, width].
    ///
    /// # Panics
    /// If `i` is not below [`Dataset::len`].
    pub fn pixels(&self, i: usize) -> &[u8] {
        &self.pixels[i * self.shape.len()..(i + 1) * self.shape.len()]
    }

    /// Image `i` by itself; panics as [`Dataset::pixels`] does.
    pub fn image(&self, i: usize) -> Image {
        Image {
            shape: self.shape,
            pixels: self.pixels(i).to_vec(),
        }
    }

    /// The label of image `i`: an index into `classes`; none when the set is unlabelled.
    ///
    /// # Panics
    /// If the set is labelled and `i` is not below [`Dataset::len`].
    pub fn label(&self, i: usize) -> Option<u32> {
        self.labels.as_ref().map(|labels| labels[i])
    }

    /// All labels, one per image; none when the set is unlabelled.
    pub fn labels(&self) -> Option<&[u32]> {
        self.labels.as_deref()
    }

    /// The first 16 hexadecimal digits of the SHA-256 over shape, labels and pixels: equal sets
    /// have equal ones, whatever file they came from.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        for side in [
            self.shape.channels,
            self.shape.height,
            self.shape.width,
            self.len(),
        ] {
            hash.update((side as u64).to_le_bytes());
        }
        match &self.labels {
            Some(labels) => labels
                .iter()
                .for_each(|label| hash.update(label.to_le_bytes())),
            None => hash.update(b"unlabelled"),
        }
        hash.update(&self.pixels);
        hash.finalize()
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// The images of `range`, which is cut to the set's length.
    pub fn subset(&self, range: Range<usize>) -> Self {
        let end = range.end.min(self.len());
        self.select(range.start.min(end)..end)
    }

    /// At most `limit` images, spread evenly over the set: a set that is sorted by class keeps all
    /// its classes.
    pub fn limit(self, limit: usize) -> Self {
        if limit >= self.len() {
            return self;
        }
        self.select(spread(self.len(), limit))
    }

    /// The images with these indices, in this order; panics as [`Dataset::image`] does.
    pub fn select(&self, indices: impl IntoIterator<Item = usize> + Clone) -> Self {
        Self {
            shape: self.shape,
            pixels: indices
                .clone()
                .into_iter()
                .flat_map(|i| self.pixels(i))
                .copied()
                .collect(),
            labels: self
                .labels
                .as_ref()
                .map(|labels| indices.into_iter().map(|i| labels[i]).collect()),
            classes: self.classes.clone(),
            name: self.name.clone(),
        }
    }

    /// The same set with other class names, in label order.
    ///
    /// # Errors
    /// If the number of names is not the set's number of classes. Classes that are only numbered
    /// may be fewer than the names, as the set may not show them all.
    pub fn with_class_names(mut self, names: &[String]) -> Result<Self, DataError> {
        self.classes = renamed(&self.classes, names, &self.name)?;
        Ok(self)
    }

    /// The number that a model with these class names has for each class of the set: by name where
    /// both have names. Classes whose names are the numbers from 0 are matched by number.
    ///
    /// # Errors
    /// Other names, or, without names, another number of classes.
    pub fn class_numbers(&self, model: &[String]) -> Result<Vec<u32>, DataError> {
        match_classes(&self.name, &self.classes, model)
    }

    /// The same images without labels and classes.
    pub fn without_labels(self) -> Self {
        Self {
            labels: None,
            classes: vec![],
            ..self
        }
    }

    /// The same images with the labels and the class names of a model.
    ///
    /// # Errors
    /// As [`Dataset::class_numbers`].
    pub fn with_classes_of(mut self, model: &[String]) -> Result<Self, DataError> {
        let numbers = self.class_numbers(model)?;
        for label in self.labels.iter_mut().flatten() {
            *label = numbers[*label as usize];
        }
        self.classes = model.to_vec();
        Ok(self)
    }

    /// Every image in the middle of a black square of `side` pixels; one that is larger is resized
    /// instead.
    ///
    /// # Errors
    /// If `side` is 0.
    pub fn pad_to(self, side: usize) -> Result<Self, DataError> {
        check_side(side, &self.name)?;
        if self.shape.height > side || self.shape.width > side {
            return self.resize_to(side);
        }
        let shape = ImageShape {
            height: side,
            width: side,
            ..self.shape
        };
        Ok(self.map(shape, |image| image.pad_to(side)))
    }

    /// The square in the middle of every image, resized to `side` pixels (Lanczos, which averages
    /// when it shrinks).
    ///
    /// # Errors
    /// If `side` is 0.
    pub fn resize_to(self, side: usize) -> Result<Self, DataError> {
        check_side(side, &self.name)?;
        let shape = ImageShape {
            height: side,
            width: side,
            ..self.shape
        };
        Ok(self.map(shape, |image| image.resize_to(side)))
    }

    /// The same images with 1 (luminance) or 3 (RGB) channels.
    ///
    /// # Errors
    /// If `channels` is neither.
    pub fn with_channels(self, channels: usize) -> Result<Self, DataError> {
        check_channels(channels, &self.name)?;
        let shape = ImageShape {
            channels,
            ..self.shape
        };
        Ok(self.map(shape, |image| image.with_channels(channels)))
    }

    /// Applies `change`, which gives images of `shape`, to every image, in parallel.
    fn map(self, shape: ImageShape, change: impl Fn(Image) -> Image + Sync) -> Self {
        if shape == self.shape {
            return self;
        }
        let mut pixels = vec![0; self.len() * shape.len()];
        pixels
            .par_chunks_mut(shape.len())
            .zip(self.pixels.par_chunks(self.shape.len()))
            .for_each(|(to, from)| {
                let image = Image {
                    shape: self.shape,
                    pixels: from.to_vec(),
                };
                to.copy_from_slice(&change(image).pixels);
            });
        Self {
            shape,
            pixels,
            ..self
        }
    }
}

/// `limit` indices below `len`, evenly spread and increasing; all of them when `limit` is not below
/// `len`.
pub(crate) fn spread(len: usize, limit: usize) -> impl Iterator<Item = usize> + Clone {
    let count = limit.min(len);
    (0..count).map(move |k| (k as u128 * len as u128 / count as u128) as usize)
}
