//! Image files: PNG, JPEG, BMP and WebP in; PNG and JPEG out.

use super::Image;
use crate::shape::{check_channels, check_side};
use crate::{DataError, ImageShape};
use ::image::codecs::jpeg::JpegEncoder;
use ::image::codecs::png::PngEncoder;
use ::image::{
    DynamicImage, ExtendedColorType, ImageDecoder, ImageEncoder, ImageReader, ImageResult, RgbImage,
};
use std::io::Cursor;
use std::path::Path;

/// Reads a PNG, JPEG, BMP or WebP file; the contents decide the format, not the name. Transparent
/// parts become white, and a camera's orientation tag is obeyed.
///
/// With `size`, the result is a square of that side, as [`Image::resize_to`] makes it. `channels`
/// is 1 or 3.
///
/// # Errors
/// A file that cannot be read or decoded, a size of 0, or another number of channels.
pub fn read(path: &Path, size: Option<usize>, channels: usize) -> Result<Image, DataError> {
    let bytes = std::fs::read(path).map_err(DataError::read(path))?;
    decode(&bytes, &path.display().to_string(), size, channels)
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
    check_channels(channels, origin)?;
    if let Some(side) = size {
        check_side(side, origin)?;
    }
    let unreadable = |reason| DataError::Image {
        origin: origin.to_owned(),
        reason,
    };
    if lacks_jpeg_end(bytes) {
        let reason = format!(
            "a JPEG file cut off after {} bytes, within its image",
            bytes.len()
        );
        return Err(unreadable(reason));
    }
    let image = decode_upright(bytes).map_err(|error| unreadable(error.to_string()))?;
    let mut image = Image::from_rgb(&over_white(image));
    if let Some(side) = size {
        image = image.resize_to(side);
    }
    Ok(image.with_channels(channels))
}

/// Whether this is a JPEG file whose last scan has no end marker. The decoder would fill the
/// missing part with grey.
fn lacks_jpeg_end(bytes: &[u8]) -> bool {
    const START_OF_IMAGE: [u8; 2] = [0xff, 0xd8];
    const START_OF_SCAN: [u8; 2] = [0xff, 0xda];
    const END_OF_IMAGE: [u8; 2] = [0xff, 0xd9];
    let last_scan = bytes.windows(2).rposition(|marker| marker == START_OF_SCAN);
    bytes.starts_with(&START_OF_IMAGE)
        && last_scan.is_some_and(|start| {
            !bytes[start..]
                .windows(2)
                .any(|marker| marker == END_OF_IMAGE)
        })
}

pub(super) fn decode_upright(bytes: &[u8]) -> ImageResult<DynamicImage> {
    let mut decoder = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()?
        .into_decoder()?;
    let orientation = decoder.orientation()?;
    let mut image = DynamicImage::from_decoder(decoder)?;
    image.apply_orientation(orientation);
    Ok(image)
}

fn over_white(image: DynamicImage) -> RgbImage {
    if !image.color().has_alpha() {
        return image.into_rgb8();
    }
    let rgba = image.into_rgba8();
    RgbImage::from_fn(rgba.width(), rgba.height(), |x, y| {
        let [colour @ .., alpha] = rgba.get_pixel(x, y).0.map(u32::from);
        ::image::Rgb(colour.map(|value| ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8))
    })
}

/// Writes `image` to `path` as PNG.
///
/// # Errors
/// A file that cannot be written, or an image that is none (no pixels, or not `shape.len()` of
/// them).
pub fn write_png(path: impl AsRef<Path>, image: &Image) -> Result<(), DataError> {
    let path = path.as_ref();
    let bytes = encode_png(image)?;
    std::fs::write(path, bytes).map_err(|source| DataError::Write {
        path: path.to_path_buf(),
        source,
    })
}

/// The bytes of a PNG file.
///
/// # Errors
/// An image that is none (no pixels, or not `shape.len()` of them).
pub fn encode_png(image: &Image) -> Result<Vec<u8>, DataError> {
    let mut bytes = Vec::new();
    encode(image, |values, width, height, color| {
        PngEncoder::new(&mut bytes).write_image(values, width, height, color)
    })?;
    Ok(bytes)
}

/// The bytes of a JPEG file of `quality` 1 (smallest) to 100 (best).
///
/// # Errors
/// An image that is none (no pixels, or not `shape.len()` of them).
pub fn encode_jpeg(image: &Image, quality: u8) -> Result<Vec<u8>, DataError> {
    let mut bytes = Vec::new();
    let encoder = JpegEncoder::new_with_quality(&mut bytes, quality.clamp(1, 100));
    encode(image, |values, width, height, color| {
        encoder.write_image(values, width, height, color)
    })?;
    Ok(bytes)
}

/// Gives a checked image's values [height, width, channels], width, height and colour type to
/// `write`.
pub(super) fn encode(
    image: &Image,
    write: impl FnOnce(&[u8], u32, u32, ExtendedColorType) -> ImageResult<()>,
) -> Result<(), DataError> {
    let origin = "the image to encode";
    let unusable = |reason: String| DataError::Image {
        origin: origin.into(),
        reason,
    };
    let ImageShape {
        channels,
        height,
        width,
    } = image.shape;
    check_channels(channels, origin)?;
    let (expected, got) = (image.shape.len(), image.pixels.len());
    if expected == 0 || expected != got {
        return Err(unusable(format!(
            "{} needs {expected} values, at least one, and has {got}",
            image.shape
        )));
    }
    let color = if channels == 1 {
        ExtendedColorType::L8
    } else {
        ExtendedColorType::Rgb8
    };
    write(&image.interleaved(), width as u32, height as u32, color)
        .map_err(|error| unusable(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::image::{ImageFormat, Rgba, RgbaImage};

    fn gradient(channels: usize) -> Image {
        let shape = ImageShape {
            channels,
            height: 5,
            width: 7,
        };
        Image {
            shape,
            pixels: (0..shape.len()).map(|i| (i * 2) as u8).collect(),
        }
    }

    #[test]
    fn png_is_lossless() {
        let folder = tempfile::tempdir().unwrap();
        for channels in [1, 3] {
            let path = folder.path().join("image.png");
            write_png(&path, &gradient(channels)).unwrap();
            assert_eq!(read(&path, None, channels).unwrap(), gradient(channels));
        }
    }

    #[test]
    fn jpeg_is_close() {
        let bytes = encode_jpeg(&Image::filled(gradient(3).shape, 100), 95).unwrap();
        let image = decode(&bytes, "test", None, 3).unwrap();
        assert!(image.pixels.iter().all(|value| value.abs_diff(100) <= 2));
    }

    #[test]
    fn transparent_parts_become_white() {
        let mut image = RgbaImage::from_pixel(2, 1, Rgba([10, 20, 30, 255]));
        image.put_pixel(1, 0, Rgba([10, 20, 30, 0]));
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, ImageFormat::Png).unwrap();
        let image = decode(bytes.get_ref(), "test", None, 3).unwrap();
        assert_eq!(image.pixels, [10, 255, 20, 255, 30, 255]);
    }

    #[test]
    fn what_is_no_image_is_refused() {
        let flat = Image {
            shape: ImageShape {
                height: 0,
                ..gradient(1).shape
            },
            pixels: Vec::new(),
        };
        assert!(matches!(encode_png(&flat), Err(DataError::Image { .. })));
        let short = Image {
            pixels: vec![0; 3],
            ..gradient(1)
        };
        assert!(matches!(
            encode_jpeg(&short, 90),
            Err(DataError::Image { .. })
        ));
        assert!(matches!(
            decode(b"text", "note.png", None, 3),
            Err(DataError::Image { .. })
        ));
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
        let nowhere = write_png("/nonexistent/x.png", &gradient(1)).unwrap_err();
        assert!(matches!(nowhere, DataError::Write { .. }));
    }

    #[test]
    fn truncated_files_are_refused() {
        let image = gradient(3).resize_to(64);
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
}
