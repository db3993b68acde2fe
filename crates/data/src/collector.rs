//! Encoded images, decoded in parallel, into the pixels of one set.

use crate::image::{Content, Decoding, Image};
use crate::{DataConfig, DataError, ImageShape};
use rayon::prelude::*;

/// How many encoded images to hand to the threads at once: enough to keep them busy, few enough to
/// hold in memory.
pub(crate) const CHUNK: usize = 1024;

/// The channels of photographs by default.
pub(crate) const DEFAULT_CHANNELS: usize = 3;

/// Collects images of one shape, in the order in which they come.
#[derive(Debug)]
pub(crate) struct ImageCollector {
    config: DataConfig,
    content: Content,
    decoding: Decoding,
    shape: Option<ImageShape>,
    pixels: Vec<u8>,
}

impl ImageCollector {
    /// For images that are resized, or left at their own (then equal) size, as the configuration
    /// says; with RGB channels by default.
    pub(crate) fn new(config: &DataConfig) -> Self {
        let channels = config.channels.unwrap_or(DEFAULT_CHANNELS);
        Self::of(config, Content::Images(channels))
    }

    /// The same for other contents.
    pub(crate) fn of(config: &DataConfig, content: Content) -> Self {
        Self {
            config: config.clone(),
            content,
            decoding: config.decoding(content),
            shape: None,
            pixels: Vec::new(),
        }
    }

    /// Refuses so many images where they do not fit into memory, as far as their size is known.
    pub(crate) fn check_memory(&self, images: usize, origin: &str) -> Result<(), DataError> {
        let Some(side) = self.config.size else {
            return Ok(());
        };
        let shape = ImageShape {
            channels: self.content.channels(),
            height: side,
            width: side,
        };
        self.config.check_memory(images, shape, origin)
    }

    /// Decodes `items` in parallel and appends their images. `fetch` returns an item's encoded
    /// bytes and `origin` its place for messages. The error returned is that of the first bad item.
    pub(crate) fn extend<T: Sync, B: AsRef<[u8]>>(
        &mut self,
        items: &[T],
        fetch: impl Fn(&T) -> Result<B, DataError> + Sync,
        origin: impl Fn(&T) -> String + Sync,
    ) -> Result<(), DataError> {
        let decode = |item| {
            let (bytes, origin) = (fetch(item)?, origin(item));
            self.decoding.image(bytes.as_ref(), &origin)
        };
        let images: Vec<Result<Image, DataError>> = items.par_iter().map(decode).collect();
        for (item, image) in items.iter().zip(images) {
            let image = image?;
            let expected = *self.shape.get_or_insert(image.shape);
            if image.shape != expected {
                return Err(DataError::Shape {
                    origin: origin(item),
                    expected,
                    got: image.shape,
                });
            }
            let images = self.pixels.len() / expected.len().max(1) + 1;
            self.config.check_memory(images, expected, &origin(item))?;
            self.pixels.extend_from_slice(&image.pixels);
        }
        Ok(())
    }

    /// The common shape (none without images) and all pixels.
    pub(crate) fn finish(self) -> (Option<ImageShape>, Vec<u8>) {
        (self.shape, self.pixels)
    }
}
