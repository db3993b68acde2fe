//! Encoded images, decoded in parallel, into the pixels of one set.

use crate::image::{self, Image};
use crate::{DataError, ImageShape};
use rayon::prelude::*;

/// How many encoded images to hand to the threads at once: enough to keep them busy, few enough to
/// hold in memory.
pub(crate) const CHUNK: usize = 1024;

/// The channels of photographs by default.
const DEFAULT_CHANNELS: usize = 3;

/// What the collected files show.
#[derive(Clone, Copy, Debug)]
enum Content {
    /// Images with so many channels.
    Images(usize),
    DepthMaps,
}

/// Collects images of one shape, in the order in which they come.
#[derive(Debug)]
pub(crate) struct ImageCollector {
    size: Option<usize>,
    content: Content,
    shape: Option<ImageShape>,
    pixels: Vec<u8>,
}

impl ImageCollector {
    /// For images resized to `size`, or left at their own (then equal) size; with RGB channels by
    /// default.
    pub(crate) fn new(size: Option<usize>, channels: Option<usize>) -> Self {
        Self::of(size, Content::Images(channels.unwrap_or(DEFAULT_CHANNELS)))
    }

    /// For depth maps, which become grey images.
    pub(crate) fn depth_maps(size: Option<usize>) -> Self {
        Self::of(size, Content::DepthMaps)
    }

    fn of(size: Option<usize>, content: Content) -> Self {
        Self {
            size,
            content,
            shape: None,
            pixels: Vec::new(),
        }
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
            match self.content {
                Content::Images(channels) => {
                    image::decode(bytes.as_ref(), &origin, self.size, channels)
                }
                Content::DepthMaps => image::decode_depth(bytes.as_ref(), &origin, self.size),
            }
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
            self.pixels.extend_from_slice(&image.pixels);
        }
        Ok(())
    }

    /// The common shape (none without images) and all pixels.
    pub(crate) fn finish(self) -> (Option<ImageShape>, Vec<u8>) {
        (self.shape, self.pixels)
    }
}
