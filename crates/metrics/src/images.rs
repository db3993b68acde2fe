//! Images as metrics take them.

use crate::{MetricsError, Result};

/// 8-bit images of one size in one block of memory, `[count, channels, height, width]`.
///
/// Metrics are defined on what a user would store in a file, so the pixels are bytes: a generated
/// image in [-1, 1] is rounded and clamped before it is measured.
#[derive(Clone, Copy, Debug)]
pub struct Images<'a> {
    /// 1 (grey) or 3 (RGB).
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// `count * channels * height * width` values.
    pub pixels: &'a [u8],
}

impl<'a> Images<'a> {
    /// Images over a block of bytes.
    ///
    /// # Errors
    /// When the block is not a whole number of images.
    pub fn new(channels: usize, height: usize, width: usize, pixels: &'a [u8]) -> Result<Self> {
        let size = channels * height * width;
        if size == 0 || !pixels.len().is_multiple_of(size) {
            return Err(MetricsError::PixelCount {
                len: pixels.len(),
                channels,
                height,
                width,
            });
        }
        Ok(Self {
            channels,
            height,
            width,
            pixels,
        })
    }

    /// How many images there are.
    pub fn len(&self) -> usize {
        self.pixels.len() / self.image_size()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.pixels.is_empty()
    }

    /// Channels, height and width.
    pub fn shape(&self) -> [usize; 3] {
        [self.channels, self.height, self.width]
    }

    /// The same images, at most `size` (at least 1) at a time.
    pub fn batches(&self, size: usize) -> impl Iterator<Item = Images<'a>> + use<'a> {
        let whole = *self;
        whole
            .pixels
            .chunks(size.max(1) * whole.image_size())
            .map(move |pixels| Images { pixels, ..whole })
    }

    fn image_size(&self) -> usize {
        (self.channels * self.height * self.width).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_cover_all_images_in_order() {
        let pixels: Vec<u8> = (0..7 * 12).collect();
        let images = Images::new(3, 2, 2, &pixels).unwrap();
        let batches: Vec<_> = images.batches(3).collect();
        assert_eq!(
            batches.iter().map(Images::len).collect::<Vec<_>>(),
            [3, 3, 1]
        );
        let joined: Vec<u8> = batches.iter().flat_map(|b| b.pixels.to_vec()).collect();
        assert_eq!(joined, pixels);
    }

    #[test]
    fn a_cut_block_is_refused() {
        let error = Images::new(3, 2, 2, &[0; 25]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "25 bytes are not a whole number of 3x2x2 images of 12 bytes each"
        );
    }
}
