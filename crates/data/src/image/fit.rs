//! How images of any aspect ratio become squares.

use super::Image;
use crate::ImageShape;
use ::image::imageops::{self, FilterType};
use ::image::{GrayImage, ImageBuffer, Pixel};
use serde::{Deserialize, Serialize};

/// How images of another aspect ratio become squares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fit {
    /// The square in the middle: what is outside of it is cut off.
    #[default]
    Crop,
    /// The whole image, with black above and below it, or on its left and right.
    Pad,
    /// The whole image, stretched.
    Stretch,
}

impl Fit {
    /// Whether it is the default, for configurations that are written.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Image {
    /// A square of `side` (at least 1) pixels; Lanczos, which averages when it shrinks. With
    /// [`Fit::Pad`] the rest is of the level `background`.
    pub(crate) fn fitted(self, side: usize, fit: Fit, background: u8) -> Self {
        let ImageShape {
            channels,
            height,
            width,
        } = self.shape;
        if height == side && width == side {
            return self;
        }
        if channels == 1 {
            let grey = GrayImage::from_raw(width as u32, height as u32, self.pixels);
            let square = square(grey.unwrap_or_default(), side, fit, background);
            return Self {
                shape: ImageShape {
                    channels,
                    height: side,
                    width: side,
                },
                pixels: square.into_raw(),
            };
        }
        Self::from_rgb(&square(self.to_rgb(), side, fit, background))
    }
}

/// The same of an image in the form of its decoder.
pub(super) fn square<P: Pixel<Subpixel = u8> + 'static>(
    image: ImageBuffer<P, Vec<u8>>,
    side: usize,
    fit: Fit,
    background: u8,
) -> ImageBuffer<P, Vec<u8>> {
    let (width, height) = image.dimensions();
    let side = side as u32;
    if (width, height) == (side, side) {
        return image;
    }
    match fit {
        Fit::Crop => {
            let middle = width.min(height);
            let corner = ((width - middle) / 2, (height - middle) / 2);
            let square = imageops::crop_imm(&image, corner.0, corner.1, middle, middle);
            imageops::resize(&*square, side, side, FilterType::Lanczos3)
        }
        Fit::Stretch => imageops::resize(&image, side, side, FilterType::Lanczos3),
        Fit::Pad => {
            let longer = f64::from(width.max(height));
            let scaled = |length: u32| f64::from(length) * f64::from(side) / longer;
            let [width, height] = [width, height].map(|l| (scaled(l).round() as u32).max(1));
            let whole = imageops::resize(&image, width, height, FilterType::Lanczos3);
            let mut square = ImageBuffer::from_fn(side, side, |_, _| {
                *P::from_slice(&[background; 4][..usize::from(P::CHANNEL_COUNT)])
            });
            let corner = [side - width, side - height].map(|rest| i64::from(rest / 2));
            imageops::replace(&mut square, &whole, corner[0], corner[1]);
            square
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two columns of 40, four of 90, two of 240: four rows high.
    fn wide(channels: usize) -> Image {
        let value = |i: usize| match i % 8 {
            0..2 => 40,
            2..6 => 90,
            _ => 240,
        };
        Image {
            shape: ImageShape {
                channels,
                height: 4,
                width: 8,
            },
            pixels: (0..32 * channels).map(value).collect(),
        }
    }

    #[test]
    fn an_image_of_another_aspect_ratio_becomes_a_square() {
        for channels in [1, 3] {
            let fitted = |fit| wide(channels).fitted(4, fit, 7).pixels;
            assert_eq!(fitted(Fit::Crop)[..4], [90; 4]);
            let stretched = fitted(Fit::Stretch);
            assert!(stretched[0] < 50 && stretched[3] > 220, "{stretched:?}");
            let padded = fitted(Fit::Pad);
            assert_eq!((&padded[..4], &padded[12..16]), (&[7; 4][..], &[7; 4][..]));
            assert!(padded[4] < 50 && padded[7] > 220, "{padded:?}");
        }
    }
}
