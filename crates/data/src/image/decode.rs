//! Image files in: whatever the `image` crate is built to read.

use super::fit::{Fit, square};
use super::opened::{MAX_PIXELS, upright};
use super::{Image, depth};
use crate::DataError;
use crate::checks::{check_channels, check_side};
use crate::input::{MAX_IMAGE_FILE, read_bytes};
use ::image::{DynamicImage, RgbImage};
use std::path::Path;

/// What files are read for, and how their images are brought to what a set wants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decoding {
    /// The side that images are brought to; their own if not told.
    pub(crate) size: Option<usize>,
    pub(crate) fit: Fit,
    pub(crate) content: Content,
    /// How many pixels a file may have.
    pub(crate) max_pixels: u64,
}

/// What image files show.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Content {
    /// Images with so many channels.
    Images(usize),
    DepthMaps,
}

impl Content {
    /// Channels of the images.
    pub(crate) fn channels(self) -> usize {
        match self {
            Self::Images(channels) => channels,
            Self::DepthMaps => 1,
        }
    }
}

/// Reads an image file: PNG, JPEG, WebP, BMP, TIFF, GIF or PNM; the contents decide the format, not
/// the name. Of several images in a file the first is read. Transparent parts become white, and a
/// camera's orientation tag is obeyed.
///
/// With `size`, the result is a square of that side, as [`Image::resize_to`] makes it. `channels`
/// is 1 or 3.
///
/// # Errors
/// A file that cannot be read or decoded or has more than [`MAX_PIXELS`], a size of 0, or another
/// number of channels.
pub fn read(path: &Path, size: Option<usize>, channels: usize) -> Result<Image, DataError> {
    read_up_to(MAX_PIXELS, path, size, channels)
}

/// The same of a file that may have so many pixels.
///
/// # Errors
/// As [`read`].
pub fn read_up_to(
    max_pixels: u64,
    path: &Path,
    size: Option<usize>,
    channels: usize,
) -> Result<Image, DataError> {
    let bytes = read_bytes(path, MAX_IMAGE_FILE)?;
    let decoding = Decoding {
        size,
        fit: Fit::default(),
        content: Content::Images(channels),
        max_pixels,
    };
    decoding.image(&bytes, &path.display().to_string())
}

/// Reads a depth map of 8 or 16 bits as a grey image, its own range of depths spread over all 256
/// levels: what a sensor stores in millimetres or a network in units of its own would else fill a
/// few of them. A map of one depth stays as it is. With `size`, the result is a square of that
/// side.
///
/// In maps of 16 bits, 0 and 65535 mean "no reading" where no reading is near them. They are left
/// out of the range and become 255, the farthest.
///
/// # Errors
/// A file that cannot be read or decoded or has more than `max_pixels`, that has no reading or
/// numbers with a fraction, or a size of 0.
pub fn read_depth(path: &Path, size: Option<usize>, max_pixels: u64) -> Result<Image, DataError> {
    let bytes = read_bytes(path, MAX_IMAGE_FILE)?;
    let decoding = Decoding {
        size,
        fit: Fit::Crop,
        content: Content::DepthMaps,
        max_pixels,
    };
    decoding.image(&bytes, &path.display().to_string())
}

/// Decodes the bytes of an image file as [`read`] does; `origin` names them in errors.
///
/// # Errors
/// As [`read`].
pub fn decode(
    bytes: &[u8],
    origin: &str,
    size: Option<usize>,
    channels: usize,
) -> Result<Image, DataError> {
    let decoding = Decoding {
        size,
        fit: Fit::Crop,
        content: Content::Images(channels),
        max_pixels: MAX_PIXELS,
    };
    decoding.image(bytes, origin)
}

impl Decoding {
    /// The image in the bytes of a file, which `origin` names in errors.
    pub(crate) fn image(&self, bytes: &[u8], origin: &str) -> Result<Image, DataError> {
        self.size.map_or(Ok(()), |side| check_side(side, origin))?;
        match self.content {
            Content::DepthMaps => {
                let map = depth::decode(bytes, origin, self.max_pixels)?;
                Ok(match self.size {
                    Some(side) => map.fitted(side, self.fit, depth::FARTHEST),
                    None => map,
                })
            }
            Content::Images(channels) => {
                check_channels(channels, origin)?;
                let rgb = over_white(upright(bytes, origin, self.max_pixels)?);
                // Before its values are set out by channels: a large image is in memory once.
                let rgb = match self.size {
                    Some(side) => square(rgb, side, self.fit, 0),
                    None => rgb,
                };
                Ok(Image::from_rgb(&rgb).with_channels(channels))
            }
        }
    }
}

pub(super) fn over_white(image: DynamicImage) -> RgbImage {
    if !image.color().has_alpha() {
        return image.into_rgb8();
    }
    let rgba = image.into_rgba8();
    let (width, height) = rgba.dimensions();
    let mut values = rgba.into_raw();
    let pixels = values.len() / 4;
    // In place: three values for four, from the start on.
    for i in 0..pixels {
        let alpha = u32::from(values[4 * i + 3]);
        for c in 0..3 {
            let value = u32::from(values[4 * i + c]);
            values[3 * i + c] = ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8;
        }
    }
    values.truncate(3 * pixels);
    RgbImage::from_raw(width, height, values).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ImageShape;
    use crate::image::dimensions;
    use crate::image::{encode_jpeg, encode_png};
    use ::image::{ImageFormat, Rgba, RgbaImage};
    use std::io::Cursor;

    fn written(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn transparent_parts_become_white() {
        let mut image = RgbaImage::from_pixel(3, 1, Rgba([10, 20, 30, 255]));
        image.put_pixel(1, 0, Rgba([10, 20, 30, 0]));
        image.put_pixel(2, 0, Rgba([0, 0, 255, 51]));
        let bytes = written(&image.into(), ImageFormat::Png);
        let image = decode(&bytes, "test", None, 3).unwrap();
        assert_eq!(image.pixels, [10, 255, 204, 20, 255, 204, 30, 255, 255]);
    }

    #[test]
    fn all_formats_are_read() {
        let image = DynamicImage::from(RgbImage::from_fn(4, 4, |x, _| {
            ::image::Rgb([if x < 2 { 0 } else { 255 }; 3])
        }));
        let expected = Image::from_rgb(&image.to_rgb8());
        for format in [
            ImageFormat::Png,
            ImageFormat::Bmp,
            ImageFormat::WebP,
            ImageFormat::Tiff,
            ImageFormat::Gif,
            ImageFormat::Pnm,
        ] {
            let bytes = written(&image, format);
            assert_eq!(
                decode(&bytes, "test", None, 3).unwrap(),
                expected,
                "{format:?}"
            );
        }
    }

    #[test]
    fn what_is_no_image_is_refused() {
        assert!(matches!(
            decode(b"text", "note.png", None, 3),
            Err(DataError::Image { .. })
        ));
        for none in [&b"P5 0 4 255\n"[..], b"P6 4 0 255\n", b"P5 0 0 255\n"] {
            let message = decode(none, "a.pgm", Some(8), 3).unwrap_err().to_string();
            assert!(message.contains("a.pgm: "), "{message}");
            assert!(message.contains("no pixels"), "{message}");
        }
        assert!(matches!(
            decode(b"", "note.png", Some(0), 3),
            Err(DataError::Config { key: "size", .. })
        ));
        assert!(matches!(
            decode(b"", "note.png", None, 2),
            Err(DataError::Config {
                key: "channels",
                ..
            })
        ));
    }

    #[test]
    fn truncated_files_are_refused() {
        let shape = ImageShape {
            channels: 3,
            height: 64,
            width: 64,
        };
        let pixels = (0..shape.len()).map(|i| (i * i % 251) as u8).collect();
        let image = Image { shape, pixels };
        for bytes in [
            encode_png(&image).unwrap(),
            encode_jpeg(&image, 90).unwrap(),
        ] {
            for length in [bytes.len() / 10, bytes.len() / 2, bytes.len() * 9 / 10] {
                let cut = decode(&bytes[..length], "cut", None, 3);
                assert!(
                    matches!(cut, Err(DataError::Image { .. })),
                    "{length} of {}",
                    bytes.len()
                );
            }
        }
    }

    #[test]
    fn images_of_too_many_pixels_are_refused_before_they_are_decoded() {
        let small = DynamicImage::from(RgbImage::new(40, 30));
        let decoding = |max_pixels| Decoding {
            size: Some(4),
            fit: Fit::Crop,
            content: Content::Images(3),
            max_pixels,
        };
        for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::Tiff] {
            let bytes = written(&small, format);
            assert!(decoding(1200).image(&bytes, "a").is_ok());
            let message = decoding(1199).image(&bytes, "a").unwrap_err().to_string();
            assert!(message.contains("a: an image of 40x30"), "{message}");
            assert!(message.contains("at most 1199"), "{message}");
        }
        // A header is enough.
        let header = b"P6\n60000 60000\n255\n";
        let message = decode(header, "a", Some(4), 3).unwrap_err().to_string();
        assert!(message.contains("60000x60000"), "{message}");
    }

    #[test]
    fn dimensions_are_those_that_are_seen() {
        let bytes = written(&DynamicImage::from(RgbImage::new(6, 4)), ImageFormat::Png);
        assert_eq!(dimensions(&bytes, "a").unwrap(), [6, 4]);
        assert!(dimensions(b"text", "a").is_err());
    }
}
