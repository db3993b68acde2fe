//! The pixels of image files, as they are to be seen.

use crate::DataError;
use crate::input::{MAX_IMAGE_FILE, read_bytes};
use ::image::error::UnsupportedErrorKind;
use ::image::metadata::Orientation;
use ::image::{DynamicImage, ImageDecoder, ImageError, ImageReader, ImageResult, Limits};
use std::io::Cursor;
use std::path::Path;

/// How many pixels an image file may have, if nothing else is told: 134 million, more than cameras
/// make.
pub const MAX_PIXELS: u64 = 1 << 27;

/// Bytes of a pixel of the largest kind: four 32-bit numbers.
const BYTES_PER_PIXEL: u64 = 16;
/// Bytes that a decoder may take besides its pixels.
const OVERHEAD: u64 = 64 << 20;

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

/// The image as it is to be seen. One of too many pixels is refused before any memory is taken for
/// them.
pub(super) fn upright(
    bytes: &[u8],
    origin: &str,
    max_pixels: u64,
) -> Result<DynamicImage, DataError> {
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
    let failed = |error: ImageError| unreadable(in_words(&error));
    let mut decoder = decoder(bytes, max_pixels).map_err(failed)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > max_pixels {
        return Err(DataError::TooLarge {
            origin: origin.into(),
            width,
            height,
            limit: max_pixels,
        });
    }
    // Some formats can say so.
    if width == 0 || height == 0 {
        return Err(unreadable(format!("it has no pixels ({width}x{height})")));
    }
    let orientation = decoder.orientation().map_err(failed)?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(failed)?;
    image.apply_orientation(orientation);
    Ok(image)
}

/// Height and width of an image file as it is to be seen, which is not decoded.
///
/// # Errors
/// A file that cannot be read, or that begins as no image.
pub fn read_size(path: &Path) -> Result<[usize; 2], DataError> {
    let bytes = read_bytes(path, MAX_IMAGE_FILE)?;
    let [width, height] = dimensions(&bytes, &path.display().to_string())?;
    Ok([height as usize, width as usize])
}

/// Width and height of an image as it is to be seen, from the start of its file.
pub(crate) fn dimensions(bytes: &[u8], origin: &str) -> Result<[u32; 2], DataError> {
    let read = || -> ImageResult<[u32; 2]> {
        let mut decoder = decoder(bytes, MAX_PIXELS)?;
        let (width, height) = decoder.dimensions();
        Ok(match decoder.orientation()? {
            Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH => [height, width],
            _ => [width, height],
        })
    };
    read().map_err(|error| DataError::Image {
        origin: origin.to_owned(),
        reason: in_words(&error),
    })
}

/// What is wrong with an image, in words without the decoder's own names.
fn in_words(error: &ImageError) -> String {
    match error {
        ImageError::Unsupported(what) if matches!(what.kind(), UnsupportedErrorKind::Color(_)) => {
            "its pixels are of a kind that is not read: save it with 8 or 16 bits for each channel"
                .into()
        }
        _ => error.to_string(),
    }
}

fn decoder(bytes: &[u8], max_pixels: u64) -> ImageResult<impl ImageDecoder> {
    let mut limits = Limits::no_limits();
    let pixels = max_pixels.saturating_mul(BYTES_PER_PIXEL);
    limits.max_alloc = Some(pixels.saturating_add(OVERHEAD));
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format()?;
    reader.limits(limits);
    reader.into_decoder()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A TIFF of one grey pixel, a float of 32 bits.
    fn float_tiff() -> Vec<u8> {
        let tags: [(u16, u16, u32); 9] = [
            (256, 3, 1),   // width
            (257, 3, 1),   // height
            (258, 3, 32),  // bits of a channel
            (259, 3, 1),   // not compressed
            (262, 3, 1),   // black is zero
            (273, 4, 122), // where the pixel is
            (277, 3, 1),   // channels
            (279, 4, 4),   // bytes
            (339, 3, 3),   // floats
        ];
        let mut bytes = b"II\x2a\0\x08\0\0\0".to_vec();
        bytes.extend((tags.len() as u16).to_le_bytes());
        for (tag, kind, value) in tags {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(kind.to_le_bytes());
            bytes.extend(1u32.to_le_bytes());
            bytes.extend(value.to_le_bytes());
        }
        bytes.extend(0u32.to_le_bytes());
        assert_eq!(bytes.len(), 122);
        bytes.extend(0.5f32.to_le_bytes());
        bytes
    }

    #[test]
    fn pixels_that_are_not_read_are_told_in_plain_words() {
        let error = upright(&float_tiff(), "a.tif", MAX_PIXELS).expect_err("not read");
        let message = error.to_string();
        assert!(message.contains("8 or 16 bits"), "{message}");
        assert!(!message.contains("Unknown"), "{message}");
    }
}
