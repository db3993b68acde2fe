//! What a U-Net sees next to a noisy image.

use super::UNetConfig;

/// What the maps are that are concatenated to the input, all latents of images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtraInput {
    /// A mask, and the image without what is to be filled: for inpainting.
    MaskedImage,
    /// An image to edit by instruction (InstructPix2Pix, 2211.09800).
    SourceImage,
}

impl UNetConfig {
    /// What the maps are that are concatenated to the input, by their channels; none without such
    /// maps, or if they are neither.
    pub fn extra_input(&self) -> Option<ExtraInput> {
        match self.concat {
            0 => None,
            extra if extra == self.channels => Some(ExtraInput::SourceImage),
            extra if extra == self.channels + 1 => Some(ExtraInput::MaskedImage),
            _ => None,
        }
    }

    /// Whether it sees an image to edit by instruction.
    pub fn sees_source(&self) -> bool {
        self.extra_input() == Some(ExtraInput::SourceImage)
    }
}
