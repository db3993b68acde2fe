//! Which kind of image file a name asks for, and files of that kind.

use super::encode::{encode, encode_png};
use super::{Image, with_parameters};
use crate::DataError;
use ::image::ImageEncoder;
use ::image::codecs::jpeg::JpegEncoder;
use ::image::codecs::webp::WebPEncoder;
use std::path::Path;

/// A kind of image file that can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageKind {
    /// PNG.
    Png,
    /// JPEG, of a quality that hides its losses.
    Jpeg,
    /// WebP without losses.
    WebP,
}

/// Quality of JPEG files, of 100.
const QUALITY: u8 = 95;

impl ImageKind {
    /// What the end of a name says, in either case; PNG for a name without one, and `None` for an
    /// end of another kind.
    pub fn of(path: &Path) -> Option<Self> {
        let Some(ending) = path.extension() else {
            return Some(Self::Png);
        };
        match ending.to_string_lossy().to_ascii_lowercase().as_str() {
            "png" => Some(Self::Png),
            "jpg" | "jpeg" => Some(Self::Jpeg),
            "webp" => Some(Self::WebP),
            _ => None,
        }
    }

    /// The bytes of a file of this kind, with the text of how the image was made where there is
    /// one: in PNG as [`with_parameters`] puts it, else as the user's comment in the EXIF data, where
    /// the web interfaces for Stable Diffusion look for it.
    ///
    /// # Errors
    /// An image that is none (no pixels, or not `shape.len()` of them).
    pub fn encode(self, image: &Image, parameters: Option<&str>) -> Result<Vec<u8>, DataError> {
        let mut bytes = Vec::new();
        match self {
            Self::Png => {
                let png = encode_png(image)?;
                return Ok(match parameters {
                    Some(text) => with_parameters(&png, text),
                    None => png,
                });
            }
            Self::Jpeg => {
                let encoder = JpegEncoder::new_with_quality(&mut bytes, QUALITY);
                encode_with(encoder, &image.opaque(), parameters)?;
            }
            Self::WebP => {
                encode_with(WebPEncoder::new_lossless(&mut bytes), image, parameters)?;
            }
        }
        Ok(bytes)
    }
}

fn encode_with(
    mut encoder: impl ImageEncoder,
    image: &Image,
    parameters: Option<&str>,
) -> Result<(), DataError> {
    encode(image, |values, width, height, colour| {
        if let Some(text) = parameters {
            let set = encoder.set_exif_metadata(user_comment(text));
            set.map_err(::image::ImageError::Unsupported)?;
        }
        encoder.write_image(values, width, height, colour)
    })
}

/// EXIF data with nothing but the user's comment: a directory whose one entry leads to the EXIF
/// directory, whose one entry is the text in UTF-16. All numbers are big-endian.
///
/// Source: EXIF 2.32, tags 0x8769 and 0x9286.
fn user_comment(text: &str) -> Vec<u8> {
    // A JPEG file has room for 64 KiB in all.
    const UNITS: usize = 32_000;
    let units = text.encode_utf16().take(UNITS);
    let text: Vec<u8> = units.flat_map(u16::to_be_bytes).collect();
    let comment = [b"UNICODE\0", &text[..]].concat();
    let mut data = b"MM\0\x2a\0\0\0\x08".to_vec();
    let mut directory = |tag: u16, kind: u16, count: u32, value: u32| {
        data.extend(1u16.to_be_bytes());
        data.extend(tag.to_be_bytes());
        data.extend(kind.to_be_bytes());
        data.extend(count.to_be_bytes());
        data.extend(value.to_be_bytes());
        data.extend([0; 4]);
    };
    const LONG: u16 = 4;
    const BYTES: u16 = 7;
    // A directory of one entry has 18 bytes.
    directory(0x8769, LONG, 1, 8 + 18);
    directory(0x9286, BYTES, comment.len() as u32, 8 + 2 * 18);
    data.extend(comment);
    data
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ImageShape;
    use crate::image::{decode, parameters};
    use ::image::{ImageDecoder, ImageFormat, ImageReader, guess_format};
    use std::io::Cursor;

    #[test]
    fn a_file_is_what_its_name_says() {
        let shape = ImageShape {
            channels: 3,
            height: 8,
            width: 8,
        };
        let image = Image::filled(shape, 100);
        for (name, format) in [
            ("a.png", ImageFormat::Png),
            ("no ending", ImageFormat::Png),
            ("a.b.JPG", ImageFormat::Jpeg),
            ("a.jpeg", ImageFormat::Jpeg),
            ("a.webp", ImageFormat::WebP),
        ] {
            let kind = ImageKind::of(Path::new(name)).unwrap();
            for text in [None, Some("a café 猫\nSteps: 4")] {
                let bytes = kind.encode(&image, text).unwrap();
                assert_eq!(guess_format(&bytes).unwrap(), format, "{name}");
                let back = decode(&bytes, name, None, 3).unwrap();
                assert!(back.pixels.iter().all(|p| p.abs_diff(100) <= 2), "{name}");
                if format == ImageFormat::Png {
                    assert_eq!(parameters(&bytes).as_deref(), text);
                    continue;
                }
                let reader = ImageReader::with_format(Cursor::new(&bytes), format);
                let exif = reader.into_decoder().unwrap().exif_metadata().unwrap();
                let stored = exif.map(|exif| {
                    let units = exif[8 + 2 * 18 + 8..].as_chunks().0.iter();
                    let units: Vec<u16> = units.map(|b| u16::from_be_bytes(*b)).collect();
                    String::from_utf16(&units).unwrap()
                });
                assert_eq!(stored.as_deref(), text, "{name}");
            }
        }
        for name in ["a.gif", "a.bmp", "a.tif", "a.safetensors"] {
            assert_eq!(ImageKind::of(Path::new(name)), None, "{name}");
        }
    }
}
