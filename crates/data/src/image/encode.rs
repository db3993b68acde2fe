//! Image files out: PNG and JPEG.

use super::Image;
use crate::checks::check_channels;
use crate::{DataError, ImageShape};
use ::image::codecs::jpeg::JpegEncoder;
use ::image::codecs::png::PngEncoder;
use ::image::{ExtendedColorType, ImageEncoder, ImageResult};
use std::path::Path;

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

/// The bytes of a JPEG file of `quality` 1 (smallest) to 100 (best). It has no alpha channel:
/// transparent parts become white.
///
/// # Errors
/// An image that is none (no pixels, or not `shape.len()` of them).
pub fn encode_jpeg(image: &Image, quality: u8) -> Result<Vec<u8>, DataError> {
    let mut bytes = Vec::new();
    let encoder = JpegEncoder::new_with_quality(&mut bytes, quality.clamp(1, 100));
    encode(&image.opaque(), |values, width, height, color| {
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
    let color = match channels {
        1 => ExtendedColorType::L8,
        2 => ExtendedColorType::La8,
        4 => ExtendedColorType::Rgba8,
        _ => {
            check_channels(channels, origin)?;
            ExtendedColorType::Rgb8
        }
    };
    let (expected, got) = (image.shape.len(), image.pixels.len());
    if expected == 0 || expected != got {
        return Err(unusable(format!(
            "{} needs {expected} values, at least one, and has {got}",
            image.shape
        )));
    }
    write(&image.interleaved(), width as u32, height as u32, color)
        .map_err(|error| unusable(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{decode, read};

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
        let nowhere = write_png("/nonexistent/x.png", &gradient(1)).unwrap_err();
        assert!(matches!(nowhere, DataError::Write { .. }));
    }
}
