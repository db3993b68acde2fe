//! Images with transparent parts: their alpha channel apart, and put back.

use super::decode::over_white;
use super::opened::upright;
use super::{Image, to_f32, to_u8};
use crate::condition::resize::{Filter, resize};
use crate::input::{MAX_IMAGE_FILE, read_bytes};
use crate::{DataError, ImageShape};
use ::image::DynamicImage;
use std::path::Path;

/// Reads an image file of up to so many pixels as [`read`](super::read) does, and its alpha channel if it has
/// one: 0 where it is transparent, 255 where it is not.
///
/// # Errors
/// As [`read`](super::read).
pub fn read_with_alpha(
    max_pixels: u64,
    path: &Path,
    channels: usize,
) -> Result<(Image, Option<Image>), DataError> {
    let bytes = read_bytes(path, MAX_IMAGE_FILE)?;
    let origin = path.display().to_string();
    crate::checks::check_channels(channels, &origin)?;
    let image = upright(&bytes, &origin, max_pixels)?;
    let alpha = image.color().has_alpha().then(|| alpha_of(&image));
    let image = Image::from_rgb(&over_white(image)).with_channels(channels);
    Ok((image, alpha))
}

fn alpha_of(image: &DynamicImage) -> Image {
    let rgba = image.to_rgba8();
    Image {
        shape: ImageShape {
            channels: 1,
            height: rgba.height() as usize,
            width: rgba.width() as usize,
        },
        pixels: rgba.pixels().map(|pixel| pixel.0[3]).collect(),
    }
}

impl Image {
    /// The image with this alpha channel, brought to the image's size by bicubic interpolation.
    /// Colours change so that the result over white is the image, where it is not fully transparent.
    pub fn with_alpha(&self, alpha: &Image) -> Self {
        let ImageShape { height, width, .. } = self.shape;
        let values: Vec<f32> = alpha.pixels.iter().map(|&value| to_f32(value)).collect();
        let values = resize(&values, alpha.shape, height, width, Filter::Bicubic);
        let alpha: Vec<u8> = values.into_iter().map(to_u8).collect();
        let colours = self.pixels.iter().zip(alpha.iter().cycle());
        let colours = colours.map(|(&value, &alpha)| match alpha {
            0 => 255,
            _ => {
                let (value, alpha) = (f32::from(value), f32::from(alpha) / 255.0);
                (255.0 - (255.0 - value) / alpha).round() as u8
            }
        });
        Self {
            shape: ImageShape {
                channels: self.shape.channels + 1,
                ..self.shape
            },
            pixels: colours.chain(alpha.iter().copied()).collect(),
        }
    }

    /// The image without its alpha channel, if it has one: transparent parts become white.
    pub(crate) fn opaque(&self) -> Self {
        let channels = self.shape.channels;
        if channels != 2 && channels != 4 {
            return self.clone();
        }
        let area = self.shape.height * self.shape.width;
        let (colours, alpha) = self.pixels.split_at((channels - 1) * area);
        let over_white = |(&value, &alpha): (&u8, &u8)| {
            let (value, alpha) = (u32::from(value), u32::from(alpha));
            ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8
        };
        Self {
            shape: ImageShape {
                channels: channels - 1,
                ..self.shape
            },
            pixels: colours
                .iter()
                .zip(alpha.iter().cycle())
                .map(over_white)
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{MAX_PIXELS, encode_png, grid, read};

    const SHAPE: ImageShape = ImageShape {
        channels: 3,
        height: 4,
        width: 4,
    };

    #[test]
    fn alpha_is_enlarged_and_the_image_over_white_stays() {
        let image = Image {
            shape: SHAPE,
            pixels: (0..48).map(|i| 128 + 2 * i).collect(),
        };
        let alpha = Image {
            shape: ImageShape {
                channels: 1,
                height: 2,
                width: 2,
            },
            pixels: vec![255, 255, 0, 255],
        };
        let transparent = image.with_alpha(&alpha);
        assert_eq!(transparent.shape.channels, 4);
        let enlarged = &transparent.pixels[48..];
        assert!(enlarged[0] == 255 && enlarged[12] < 40, "{enlarged:?}");
        // Through a file: grey and colour, with the alpha channel and without.
        let folder = tempfile::tempdir().unwrap();
        for image in [image.clone(), image.with_channels(1)] {
            let channels = image.shape.channels;
            let transparent = image.with_alpha(&alpha);
            let file = folder.path().join("image.png");
            std::fs::write(&file, encode_png(&transparent).unwrap()).unwrap();
            let (back, alpha) = read_with_alpha(MAX_PIXELS, &file, channels).unwrap();
            assert_eq!(back, read(&file, None, channels).unwrap());
            let alpha = alpha.expect("there is one").pixels;
            assert_eq!(alpha, transparent.pixels[channels * 16..]);
            for (i, &alpha) in alpha.iter().enumerate() {
                let off = back.pixels[i].abs_diff(image.pixels[i]);
                assert!(off <= 1 || alpha < 128, "pixel {i} is off by {off}");
            }
            assert_eq!(grid(&[transparent], 1, 0), back);
        }
    }

    #[test]
    fn an_image_without_alpha_has_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("image.png");
        std::fs::write(&file, encode_png(&Image::filled(SHAPE, 9)).unwrap()).unwrap();
        assert_eq!(read_with_alpha(MAX_PIXELS, &file, 3).unwrap().1, None);
    }
}
