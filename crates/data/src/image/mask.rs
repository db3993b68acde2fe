//! Masks in: which part of an image is to be filled.

use super::{Image, Layer};
use crate::input::{MAX_IMAGE_FILE, read_bytes};
use crate::{DataError, ImageShape};
use ::image::GrayAlphaImage;
use std::path::Path;

/// From this value on, a pixel of a mask is white: to be filled.
const WHITE: u8 = 128;

/// Which part of a mask is to be filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaskKind {
    /// What is white. Transparent parts are not, so that a mask can be painted in white on a layer
    /// of its own.
    White,
    /// What is transparent.
    Transparent,
}

/// Reads a mask as a grey image: at least 128 where an image is to be filled, which is what is
/// white in it.
///
/// # Errors
/// A file that cannot be read or decoded or has more than `max_pixels`; a mask without any white, or of nothing else; one whose
/// opaque part is an image.
pub fn read_mask(path: &Path, max_pixels: u64) -> Result<Image, DataError> {
    let origin = path.display().to_string();
    let bytes = read_bytes(path, MAX_IMAGE_FILE)?;
    Layer::decode(&bytes, &origin, max_pixels)?.mask(MaskKind::White, &origin)
}

/// What a layer masks, which `origin` names in errors.
pub(super) fn mask_of(
    layer: &GrayAlphaImage,
    kind: MaskKind,
    origin: &str,
) -> Result<Image, DataError> {
    let refused = |reason: String| DataError::Mask {
        origin: origin.into(),
        reason,
    };
    if kind == MaskKind::White && is_cut_out(layer) {
        return Err(refused(format!(
            "its opaque part is neither white nor black, like an image with a part cut out; {}",
            kind.expected()
        )));
    }
    let over_black = |value: u8, alpha: u8| (u32::from(value) * u32::from(alpha) + 127) / 255;
    let values = layer.pixels().map(|pixel| {
        let [value, alpha] = pixel.0;
        match kind {
            MaskKind::White => over_black(value, alpha) as u8,
            MaskKind::Transparent => 255 - alpha,
        }
    });
    let pixels: Vec<u8> = values.collect();
    let filled = pixels.iter().filter(|value| **value >= WHITE).count();
    let (name, expected) = (kind.name(), kind.expected());
    match filled {
        0 => Err(refused(format!(
            "nothing in it is {name}, so nothing would be filled; {expected}"
        ))),
        all if all == pixels.len() => Err(refused(format!(
            "all of it is {name}, so nothing of the image would be left to go by; {expected}"
        ))),
        _ => Ok(Image {
            shape: ImageShape {
                channels: 1,
                height: layer.height() as usize,
                width: layer.width() as usize,
            },
            pixels,
        }),
    }
}

impl MaskKind {
    fn name(self) -> &'static str {
        match self {
            Self::White => "white",
            Self::Transparent => "transparent",
        }
    }

    fn expected(self) -> &'static str {
        match self {
            Self::White => {
                "expected white where the image is to be filled, and black or transparent where it stays"
            }
            Self::Transparent => {
                "expected transparent parts where the image is to be filled, and opaque ones where it stays"
            }
        }
    }
}

/// Where an image of one channel, as [`read_mask`] returns it, masks: 1 there, 0 elsewhere.
pub fn mask_values(mask: &Image) -> Vec<f32> {
    let hidden = mask.pixels.iter().map(|value| *value >= WHITE);
    hidden.map(|hidden| f32::from(u8::from(hidden))).collect()
}

/// Whether this has transparent parts and, in its opaque ones, more than a tenth of greys.
fn is_cut_out(layer: &GrayAlphaImage) -> bool {
    let opaque = || layer.pixels().filter(|pixel| pixel.0[1] >= WHITE);
    let greys = opaque().filter(|pixel| (32..224).contains(&pixel.0[0]));
    let count = opaque().count();
    count < layer.pixels().len() && 10 * greys.count() > count
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::image::{DynamicImage, LumaA};

    fn read(pixels: [[u8; 2]; 4]) -> Result<Vec<u8>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mask.png");
        let layer = GrayAlphaImage::from_fn(2, 2, |x, y| LumaA(pixels[(2 * y + x) as usize]));
        DynamicImage::from(layer).save(&path).unwrap();
        let mask = read_mask(&path, 1 << 20).map_err(|error| error.to_string())?;
        Ok(mask.pixels)
    }

    #[test]
    fn what_is_transparent_is_not_filled() {
        let [white, black, none] = [[255, 255], [0, 255], [255, 0]];
        assert_eq!(read([white, none, none, none]).unwrap(), [255, 0, 0, 0]);
        assert_eq!(read([white, black, none, none]).unwrap(), [255, 0, 0, 0]);
        assert_eq!(
            read([white, white, black, black]).unwrap(),
            [255, 255, 0, 0]
        );
        let greys = read([[200, 255], [100, 255], [90, 255], none]).unwrap_err();
        assert!(greys.contains("neither white nor black"), "{greys}");
    }

    #[test]
    fn what_is_transparent_can_be_what_is_filled() {
        let mask = |alphas: [u8; 4]| {
            let layer =
                GrayAlphaImage::from_fn(2, 2, |x, y| LumaA([90, alphas[(2 * y + x) as usize]]));
            let mask = mask_of(&layer, MaskKind::Transparent, "a");
            mask.map(|mask| mask.pixels)
                .map_err(|error| error.to_string())
        };
        assert_eq!(mask([255, 0, 127, 128]).unwrap(), [0, 255, 128, 127]);
        assert!(
            mask([255; 4])
                .unwrap_err()
                .contains("nothing in it is transparent")
        );
        assert!(
            mask([0; 4])
                .unwrap_err()
                .contains("all of it is transparent")
        );
    }

    #[test]
    fn masks_of_nothing_or_all_are_refused() {
        let message = read([[100, 255]; 4]).unwrap_err();
        assert!(message.contains("nothing in it is white"), "{message}");
        assert!(message.contains("mask.png"), "{message}");
        let message = read([[255, 255]; 4]).unwrap_err();
        assert!(message.contains("all of it is white"), "{message}");
        // Black strokes on a transparent layer.
        let message = read([[0, 255], [0, 255], [0, 0], [0, 0]]).unwrap_err();
        assert!(message.contains("nothing in it is white"), "{message}");
    }
}
