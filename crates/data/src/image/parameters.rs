//! How an image was made, inside its PNG file: the `parameters` text that Stable Diffusion's web
//! interface writes and other tools read.

use flate2::Crc;

const SIGNATURE: usize = 8;
const KEYWORD: &[u8] = b"parameters";

/// A PNG file with the text as its first chunk after the header. Latin-1 goes into a `tEXt` chunk,
/// all else into an `iTXt` one, as Pillow does it.
pub fn with_parameters(png: &[u8], text: &str) -> Vec<u8> {
    let latin: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(c).ok()).collect();
    let chunk = match latin {
        Some(latin) => chunk(b"tEXt", &[KEYWORD, &[0], &latin].concat()),
        // Not compressed, in no language.
        None => chunk(b"iTXt", &[KEYWORD, &[0; 5], text.as_bytes()].concat()),
    };
    let header_end = SIGNATURE + length(&png[SIGNATURE..]) + 12;
    [&png[..header_end], &chunk, &png[header_end..]].concat()
}

/// The text that [`with_parameters`] put into a PNG file.
pub fn parameters(png: &[u8]) -> Option<String> {
    let mut rest = png.get(SIGNATURE..)?;
    while rest.len() >= 12 {
        let (kind, data) = (&rest[4..8], rest.get(8..8 + length(rest))?);
        let text = data.strip_prefix(KEYWORD);
        match (kind, text) {
            (b"tEXt", Some([0, text @ ..])) => {
                return Some(text.iter().map(|&b| char::from(b)).collect());
            }
            (b"iTXt", Some([0, 0, 0, 0, 0, text @ ..])) => {
                return String::from_utf8(text.to_vec()).ok();
            }
            _ => rest = rest.get(12 + data.len()..)?,
        }
    }
    None
}

/// Length, kind, data, checksum.
fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut checksum = Crc::new();
    checksum.update(kind);
    checksum.update(data);
    let length = (data.len() as u32).to_be_bytes();
    [&length, &kind[..], data, &checksum.sum().to_be_bytes()].concat()
}

/// Bytes of data in the chunk that starts here.
fn length(chunk: &[u8]) -> usize {
    let length = chunk.first_chunk().copied().unwrap_or_default();
    u32::from_be_bytes(length) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ImageShape;
    use crate::image::{Image, decode, encode_png};

    #[test]
    fn a_text_comes_back_and_the_image_stays() {
        let shape = ImageShape {
            channels: 3,
            height: 4,
            width: 5,
        };
        let image = Image::filled(shape, 77);
        let png = encode_png(&image).unwrap();
        assert_eq!(parameters(&png), None);
        for text in ["a café\nSteps: 4", "a cat 猫\nSteps: 4"] {
            let with = with_parameters(&png, text);
            assert_eq!(parameters(&with).as_deref(), Some(text));
            assert_eq!(decode(&with, "with", None, 3).unwrap(), image);
            let found = (0..with.len()).filter(|&length| parameters(&with[..length]).is_some());
            assert!(
                found.count() > 0,
                "all of the chunk is there before the image"
            );
        }
        let cut_off = (0..png.len()).map(|length| parameters(&png[..length]));
        assert!(cut_off.flatten().next().is_none());
    }
}
