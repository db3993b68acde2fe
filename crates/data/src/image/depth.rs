//! Depth maps in.

use super::Image;
use super::codec::decode_upright;
use crate::shape::check_side;
use crate::{DataError, ImageShape};
use ::image::ImageBuffer;
use std::path::Path;

/// Reads a depth map of 8 or 16 bits as a grey image, its own range of depths spread over all 256
/// levels: what a sensor stores in millimetres or a network in units of its own would else fill a
/// few of them. A map of one depth stays as it is. With `size`, the result is a square of that
/// side.
///
/// # Errors
/// A file that cannot be read or decoded, or a size of 0.
pub fn read_depth(path: &Path, size: Option<usize>) -> Result<Image, DataError> {
    let bytes = std::fs::read(path).map_err(DataError::read(path))?;
    decode_depth(&bytes, &path.display().to_string(), size)
}

/// Decodes the bytes of a depth map as [`read_depth`] does; `origin` names them in errors.
pub(crate) fn decode_depth(
    bytes: &[u8],
    origin: &str,
    size: Option<usize>,
) -> Result<Image, DataError> {
    size.map_or(Ok(()), |side| check_side(side, origin))?;
    let image = decode_upright(bytes).map_err(|error| DataError::Image {
        origin: origin.to_owned(),
        reason: error.to_string(),
    })?;
    let map: ImageBuffer<::image::Luma<u16>, Vec<u16>> = image.into_luma16();
    let shape = ImageShape {
        channels: 1,
        height: map.height() as usize,
        width: map.width() as usize,
    };
    let image = Image {
        shape,
        pixels: spread(map.as_raw()),
    };
    Ok(match size {
        Some(side) => image.resize_to(side).with_channels(1),
        None => image,
    })
}

/// From the nearest depth to the farthest, 0 to 255.
fn spread(depths: &[u16]) -> Vec<u8> {
    let [nearest, farthest] =
        [depths.iter().min(), depths.iter().max()].map(|d| d.map_or(0, |d| u32::from(*d)));
    let range = farthest - nearest;
    let level = |&depth: &u16| match range {
        0 => depth >> 8,
        _ => ((255 * (u32::from(depth) - nearest) + range / 2) / range) as u16,
    };
    depths.iter().map(|depth| level(depth) as u8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::encode_png;
    use std::io::Cursor;

    fn png_16(values: &[u16], width: u32) -> Vec<u8> {
        let height = values.len() as u32 / width;
        let map =
            ImageBuffer::<::image::Luma<u16>, _>::from_raw(width, height, values.to_vec()).unwrap();
        let mut bytes = Cursor::new(vec![]);
        map.write_to(&mut bytes, ::image::ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    /// Millimetres of a room: 8 bits of 16 would be 3 to 11 of 255.
    #[test]
    fn sixteen_bits_use_all_levels() {
        let room = [800u16, 1200, 2800, 2000];
        let image = decode_depth(&png_16(&room, 2), "room.png", None).unwrap();
        assert_eq!(image.pixels, [0, 51, 255, 153]);
        assert_eq!(image.shape.channels, 1);
        let flat = decode_depth(&png_16(&[0x4321; 4], 2), "wall.png", Some(4)).unwrap();
        assert_eq!(flat.pixels, [0x43; 16]);
    }

    #[test]
    fn eight_bits_are_read_as_they_are_where_they_use_all_levels() {
        let shape = ImageShape {
            channels: 1,
            height: 2,
            width: 2,
        };
        let pixels = vec![0, 100, 200, 255];
        let bytes = encode_png(&Image {
            shape,
            pixels: pixels.clone(),
        });
        assert_eq!(
            decode_depth(&bytes.unwrap(), "map.png", None)
                .unwrap()
                .pixels,
            pixels
        );
        let error = decode_depth(b"no image", "map.png", None).unwrap_err();
        assert!(error.to_string().contains("map.png"), "{error}");
    }
}
