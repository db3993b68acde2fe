//! How images of any aspect ratio become squares.

use super::Image;
use crate::ImageShape;
use ::image::imageops::{self, FilterType};
use ::image::{GenericImageView, GrayImage, ImageBuffer, Pixel};
use serde::{Deserialize, Serialize};

/// Pixels between two passes of resizing, from which on the order of the passes is chosen.
const MOST_BETWEEN: u64 = 1 << 24;

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
            let square = square(self.into_grey(), side, fit, background);
            return Self::from_grey(square);
        }
        Self::from_rgb(&square(self.to_rgb(), side, fit, background))
    }

    /// The image (1 or 3 channels) in this height and width (at least 1 each): scaled until it
    /// covers them, and its middle taken; Lanczos, which averages when it shrinks.
    pub fn covering(self, [height, width]: [usize; 2]) -> Self {
        if [self.shape.height, self.shape.width] == [height, width] {
            return self;
        }
        let size = [height as u32, width as u32];
        match self.shape.channels {
            1 => Self::from_grey(cover(self.into_grey(), size)),
            _ => Self::from_rgb(&cover(self.to_rgb(), size)),
        }
    }

    fn into_grey(self) -> GrayImage {
        let ImageShape { height, width, .. } = self.shape;
        let grey = GrayImage::from_raw(width as u32, height as u32, self.pixels);
        grey.unwrap_or_default()
    }

    fn from_grey(image: GrayImage) -> Self {
        Self {
            shape: ImageShape {
                channels: 1,
                height: image.height() as usize,
                width: image.width() as usize,
            },
            pixels: image.into_raw(),
        }
    }
}

/// The part in the middle that has the proportions of this height and width, resized to them.
fn cover<P: Pixel<Subpixel = u8> + 'static>(
    image: ImageBuffer<P, Vec<u8>>,
    [height, width]: [u32; 2],
) -> ImageBuffer<P, Vec<u8>> {
    let (from_width, from_height) = image.dimensions();
    let part = |other: u32, side: u32, other_side: u32, most: u32| {
        let part = u64::from(other) * u64::from(side) / u64::from(other_side);
        part.clamp(1, u64::from(most)) as u32
    };
    let part_width = part(from_height, width, height, from_width);
    let part_height = part(from_width, height, width, from_height);
    let (left, top) = (
        (from_width - part_width) / 2,
        (from_height - part_height) / 2,
    );
    let part = imageops::crop_imm(&image, left, top, part_width, part_height);
    resized(&*part, width, height)
}

/// An image in another size. The framework resizes columns first, and keeps the result in 16 bytes a
/// pixel: a large image that is much wider than high is turned for that.
fn resized<P: Pixel<Subpixel = u8> + 'static>(
    image: &impl GenericImageView<Pixel = P>,
    width: u32,
    height: u32,
) -> ImageBuffer<P, Vec<u8>> {
    let (from_width, from_height) = image.dimensions();
    let pixels = |width: u32, height: u32| u64::from(width) * u64::from(height);
    let (between, turned) = (pixels(from_width, height), pixels(width, from_height));
    match between > MOST_BETWEEN && turned < between {
        true => {
            let turned = imageops::rotate90(image);
            imageops::rotate270(&imageops::resize(
                &turned,
                height,
                width,
                FilterType::Lanczos3,
            ))
        }
        false => imageops::resize(image, width, height, FilterType::Lanczos3),
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
        Fit::Crop => cover(image, [side, side]),
        Fit::Stretch => resized(&image, side, side),
        Fit::Pad => {
            let longer = f64::from(width.max(height));
            let scaled = |length: u32| f64::from(length) * f64::from(side) / longer;
            let [width, height] = [width, height].map(|l| (scaled(l).round() as u32).max(1));
            let whole = resized(&image, width, height);
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

    /// Four million pixels in a row, and in a column.
    #[test]
    fn lines_of_millions_of_pixels_are_stretched() {
        let line = |[height, width]: [usize; 2]| Image {
            shape: ImageShape {
                channels: 1,
                height,
                width,
            },
            pixels: (0..height * width)
                .map(|i| (i * 255 / (height * width)) as u8)
                .collect(),
        };
        let wide = line([1, 1 << 22]).fitted(64, Fit::Stretch, 0).pixels;
        let high = line([1 << 22, 1]).fitted(64, Fit::Stretch, 0).pixels;
        for (i, level) in wide.iter().enumerate() {
            let (row, column) = (i / 64, i % 64);
            let off = 255.0 * (column as f64 + 0.5) / 64.0 - f64::from(*level);
            assert!(off.abs() < 2.0, "row {row}, column {column}: {level}");
            assert!(level.abs_diff(high[64 * column + row]) <= 1, "{i}");
        }
    }

    #[test]
    fn an_image_of_another_aspect_ratio_becomes_a_square() {
        for channels in [1, 3] {
            let fitted = |fit| wide(channels).fitted(4, fit, 7).pixels;
            assert_eq!(fitted(Fit::Crop)[..4], [90; 4]);
            let stretched = fitted(Fit::Stretch);
            assert!(stretched[0] < 50 && stretched[3] > 220, "{stretched:?}");
            // The whole height, four of the eight columns.
            let covered = wide(channels).covering([8, 8]);
            assert_eq!((covered.shape.height, covered.shape.width), (8, 8));
            assert_eq!(covered.pixels[2..6], [90; 4]);
            let low = wide(channels).covering([1, 4]).pixels;
            assert!(low[0] < 60 && low[3] > 220, "{low:?}");
            let padded = fitted(Fit::Pad);
            assert_eq!((&padded[..4], &padded[12..16]), (&[7; 4][..], &[7; 4][..]));
            assert!(padded[4] < 50 && padded[7] > 220, "{padded:?}");
        }
    }
}
