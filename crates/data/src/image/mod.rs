//! Images in and out: read at a size, write as PNG, JPEG or WebP, arrange in a grid.

mod alpha;
mod decode;
mod depth;
mod encode;
mod fit;
mod kind;
mod layer;
mod mask;
mod opened;
mod parameters;

use crate::ImageShape;
use ::image::RgbImage;

pub use alpha::read_with_alpha;
pub(crate) use decode::{Content, Decoding};
pub use decode::{decode, read, read_depth, read_up_to};
pub use encode::{encode_jpeg, encode_png, write_png};
pub use fit::Fit;
pub use kind::ImageKind;
pub use layer::Layer;
pub use mask::{MaskKind, mask_values, read_mask};
pub(crate) use opened::dimensions;
pub use opened::{MAX_PIXELS, read_size};
pub use parameters::{parameters, with_parameters};

/// One image, 8 bit, CHW. `pixels` must have `shape.len()` values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// [channels, height, width]; 1 channel (grey) or 3 (RGB), and one more with an alpha channel.
    pub shape: ImageShape,
    /// The values, [channels, height, width].
    pub pixels: Vec<u8>,
}

/// From a network's [-1, 1] to 8 bit: (x + 1) * 127.5, rounded and clamped; NaN becomes 0.
pub fn to_u8(x: f32) -> u8 {
    ((x + 1.0) * 127.5).round().clamp(0.0, 255.0) as u8
}

/// From 8 bit to a network's [-1, 1]: x / 127.5 - 1.
pub fn to_f32(x: u8) -> f32 {
    f32::from(x) / 127.5 - 1.0
}

impl Image {
    /// An image from a network's output: values in [-1, 1], CHW, `shape.len()` of them.
    pub fn from_f32(shape: ImageShape, values: &[f32]) -> Self {
        Self {
            shape,
            pixels: values.iter().map(|&x| to_u8(x)).collect(),
        }
    }

    /// An image of one colour.
    pub fn filled(shape: ImageShape, value: u8) -> Self {
        Self {
            shape,
            pixels: vec![value; shape.len()],
        }
    }

    /// The same image with 1 (luminance, Rec. 709) or 3 (RGB) channels.
    pub fn with_channels(self, channels: usize) -> Self {
        let shape = ImageShape {
            channels,
            ..self.shape
        };
        let area = shape.height * shape.width;
        let pixels = match (self.shape.channels, channels) {
            (from, to) if from == to => self.pixels,
            (1, _) => self.pixels.repeat(channels),
            _ => (0..area)
                .map(|i| {
                    let [r, g, b] = [0, 1, 2].map(|c| u32::from(self.pixels[c * area + i]));
                    ((2126 * r + 7152 * g + 722 * b + 5000) / 10_000) as u8
                })
                .collect(),
        };
        Self { shape, pixels }
    }

    /// The image in the middle of a black square of `side` pixels, which must not be smaller than
    /// it.
    pub(crate) fn pad_to(self, side: usize) -> Self {
        let mut square = Self::filled(
            ImageShape {
                height: side,
                width: side,
                ..self.shape
            },
            0,
        );
        let (top, left) = (
            (side - self.shape.height) / 2,
            (side - self.shape.width) / 2,
        );
        square.paste(&self, top, left);
        square
    }

    /// The square in the middle of the image, resized to `side` (at least 1) pixels; Lanczos, which
    /// averages when it shrinks.
    pub fn resize_to(self, side: usize) -> Self {
        self.fitted(side, Fit::Crop, 0)
    }

    /// Copies `other`, which must have as many channels and fit, with its corner at row `top`,
    /// column `left`.
    fn paste(&mut self, other: &Self, top: usize, left: usize) {
        let ImageShape {
            channels,
            height,
            width,
        } = other.shape;
        for channel in 0..channels {
            for row in 0..height {
                let to = (channel * self.shape.height + top + row) * self.shape.width + left;
                let from = (channel * height + row) * width;
                self.pixels[to..to + width].copy_from_slice(&other.pixels[from..from + width]);
            }
        }
    }

    /// The values with the channels innermost, as image files have them: [height, width, channels].
    fn interleaved(&self) -> Vec<u8> {
        let area = self.shape.height * self.shape.width;
        (0..self.pixels.len())
            .map(|i| self.pixels[i % self.shape.channels * area + i / self.shape.channels])
            .collect()
    }

    fn to_rgb(&self) -> RgbImage {
        let rgb = self.clone().with_channels(3);
        let area = rgb.shape.height * rgb.shape.width;
        RgbImage::from_fn(rgb.shape.width as u32, rgb.shape.height as u32, |x, y| {
            let i = y as usize * rgb.shape.width + x as usize;
            ::image::Rgb([
                rgb.pixels[i],
                rgb.pixels[area + i],
                rgb.pixels[2 * area + i],
            ])
        })
    }

    fn from_rgb(image: &RgbImage) -> Self {
        let shape = ImageShape {
            channels: 3,
            height: image.height() as usize,
            width: image.width() as usize,
        };
        let area = shape.height * shape.width;
        let mut pixels = vec![0; shape.len()];
        for (i, pixel) in image.pixels().enumerate() {
            for (channel, value) in pixel.0.into_iter().enumerate() {
                pixels[channel * area + i] = value;
            }
        }
        Self { shape, pixels }
    }
}

/// Images side by side on white, `columns` to a row, with `margin` white pixels around each. All
/// cells have the size of the largest image; grey ones become RGB when others are, and transparent
/// parts white.
pub fn grid(images: &[Image], columns: usize, margin: usize) -> Image {
    let images: Vec<Image> = images.iter().map(Image::opaque).collect();
    let largest =
        |side: fn(&ImageShape) -> usize| images.iter().map(|p| side(&p.shape)).max().unwrap_or(1);
    let channels = largest(|shape| shape.channels);
    let (height, width) = (
        largest(|shape| shape.height) + margin,
        largest(|shape| shape.width) + margin,
    );
    let columns = columns.clamp(1, images.len().max(1));
    let rows = images.len().div_ceil(columns).max(1);
    let shape = ImageShape {
        channels,
        height: rows * height + margin,
        width: columns * width + margin,
    };
    let mut sheet = Image::filled(shape, 255);
    for (i, image) in images.iter().enumerate() {
        let (top, left) = (i / columns * height + margin, i % columns * width + margin);
        sheet.paste(&image.clone().with_channels(channels), top, left);
    }
    sheet
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn shape(channels: usize, height: usize, width: usize) -> ImageShape {
        ImageShape {
            channels,
            height,
            width,
        }
    }

    #[test]
    fn values_survive_the_way_to_floats_and_back() {
        for value in 0..=255 {
            assert_eq!(to_u8(to_f32(value)), value);
        }
        assert_eq!(
            [-7.0, -1.0, 0.0, 1.0, 7.0, f32::NAN].map(to_u8),
            [0, 0, 128, 255, 255, 0]
        );
    }

    #[test]
    fn padding_centres_on_black() {
        let image = Image {
            shape: shape(1, 1, 2),
            pixels: vec![5, 6],
        };
        let expected = vec![0, 0, 0, 0, 0, 5, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(
            image.pad_to(4),
            Image {
                shape: shape(1, 4, 4),
                pixels: expected
            }
        );
    }

    #[test]
    fn channels_convert() {
        let colour = Image {
            shape: shape(3, 1, 2),
            pixels: vec![255, 10, 0, 10, 0, 10],
        };
        let grey = colour.clone().with_channels(1);
        assert_eq!(grey.pixels, [54, 10]);
        assert_eq!(grey.with_channels(3).pixels, [54, 10, 54, 10, 54, 10]);
        assert_eq!(colour.clone().with_channels(3), colour);
    }

    #[test]
    fn resizing_takes_the_middle_and_averages() {
        // Columns 2 to 5 of 8 are a checkerboard of 0 and 255; the rest must be cut off.
        let value = |i: usize| match (i % 8, i / 8) {
            (x @ 2..6, y) => {
                if (x + y) % 2 == 0 {
                    0
                } else {
                    255
                }
            }
            _ => 77,
        };
        let image = Image {
            shape: shape(1, 4, 8),
            pixels: (0..32).map(value).collect(),
        };
        let small = image.resize_to(1);
        assert_eq!(small.shape, shape(1, 1, 1));
        assert!((126..=129).contains(&small.pixels[0]), "{small:?}");
    }

    #[test]
    fn a_grid_places_images_row_by_row() {
        let images = [1, 2, 3].map(|value| Image::filled(shape(1, 1, 1), value));
        let sheet = grid(&images, 2, 1);
        let w = 255;
        let expected = vec![
            w, w, w, w, w, w, 1, w, 2, w, w, w, w, w, w, w, 3, w, w, w, w, w, w, w, w,
        ];
        assert_eq!(
            sheet,
            Image {
                shape: shape(1, 5, 5),
                pixels: expected
            }
        );
        let mixed = grid(&[images[0].clone(), Image::filled(shape(3, 2, 2), 9)], 9, 0);
        assert_eq!(mixed.shape, shape(3, 2, 4));
        assert_eq!(mixed.pixels[..8], [1, w, 9, 9, w, w, 9, 9]);
        assert!(!grid(&[], 4, 2).shape.is_empty());
    }
}
