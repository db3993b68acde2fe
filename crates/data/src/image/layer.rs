//! Image files at their own size, with their transparent parts.

use super::decode::over_white;
use super::depth::spread_out;
use super::mask::mask_of;
use super::opened::upright;
use super::{Image, MaskKind};
use crate::DataError;
use ::image::DynamicImage;

/// From this value on, a pixel is more opaque than transparent.
const OPAQUE: u8 = 128;

/// An image as its file has it: of its own size, with its transparent parts. What it is used for,
/// an image or a mask, is decided after it was decoded.
#[derive(Clone, Debug)]
pub struct Layer(DynamicImage);

impl Layer {
    /// Decodes the bytes of an image file; `origin` names them in errors. A camera's orientation tag
    /// is obeyed.
    ///
    /// # Errors
    /// Bytes that cannot be decoded, or an image of more than `max_pixels`.
    pub fn decode(bytes: &[u8], origin: &str, max_pixels: u64) -> Result<Self, DataError> {
        upright(bytes, origin, max_pixels).map(Self)
    }

    /// Height and width.
    pub fn size(&self) -> [usize; 2] {
        [self.0.height() as usize, self.0.width() as usize]
    }

    /// The image over white, with 1 or 3 channels.
    pub fn image(&self, channels: usize) -> Image {
        Image::from_rgb(&over_white(self.0.clone())).with_channels(channels)
    }

    /// The depth map that it is, its range of depths spread over all levels as
    /// [`read_depth`](super::read_depth) says.
    ///
    /// # Errors
    /// A map without a reading, or of numbers with a fraction; `origin` names it.
    pub fn depth(&self, origin: &str) -> Result<Image, DataError> {
        spread_out(self.0.clone(), origin)
    }

    /// The mask that it is: a grey image, at least 128 where another is to be filled.
    ///
    /// # Errors
    /// A mask of nothing or of everything; where white is to be filled, one whose opaque part is an
    /// image. `origin` names it.
    pub fn mask(&self, kind: MaskKind, origin: &str) -> Result<Image, DataError> {
        mask_of(&self.0.to_luma_alpha8(), kind, origin)
    }

    /// Whether any part of it is transparent.
    pub fn has_transparent_parts(&self) -> bool {
        let alpha = self.0.color().has_alpha().then(|| self.0.to_luma_alpha8());
        alpha.is_some_and(|alpha| alpha.pixels().any(|pixel| pixel.0[1] < OPAQUE))
    }

    /// With black and white exchanged; what is transparent stays so.
    pub fn inverted(mut self) -> Self {
        self.0.invert();
        self
    }
}
