//! Depth maps in.

use super::Image;
use super::opened::upright;
use crate::{DataError, ImageShape};
use ::image::{DynamicImage, ImageBuffer};

/// 0 and 65535 count as missing where they are further away from all other values than this part of
/// their range.
const GAP: u32 = 128;
/// How far the channels of a pixel differ that is clearly not grey; compression makes less of a
/// difference.
const CLEAR: u8 = 32;
/// The level of what is farthest, and of what has no reading.
pub(super) const FARTHEST: u8 = 255;

/// Decodes the bytes of a depth map as [`read_depth`](super::read_depth) does; `origin` names them
/// in errors.
pub(super) fn decode(bytes: &[u8], origin: &str, max_pixels: u64) -> Result<Image, DataError> {
    spread_out(upright(bytes, origin, max_pixels)?, origin)
}

/// A depth map of which the range of depths is spread over all levels.
pub(super) fn spread_out(image: DynamicImage, origin: &str) -> Result<Image, DataError> {
    let refused = |reason: &str| DataError::Image {
        origin: origin.to_owned(),
        reason: reason.into(),
    };
    let color = image.color();
    let bits = 8 * color.bytes_per_pixel() / color.channel_count();
    if bits > 16 {
        return Err(refused(
            "a depth map of numbers with a fraction; expected whole numbers of 8 or 16 bits, such as millimetres",
        ));
    }
    if is_coloured(&image) {
        return Err(refused(
            "a depth map in colour; expected grey, as its values are the depths and not how they are shown",
        ));
    }
    let map: ImageBuffer<::image::Luma<u16>, Vec<u16>> = image.into_luma16();
    let readings = match bits {
        16 => readings(map.as_raw()).ok_or_else(|| {
            refused("a depth map without a reading: all its values are 0 or 65535")
        })?,
        _ => [0, u16::MAX],
    };
    let shape = ImageShape {
        channels: 1,
        height: map.height() as usize,
        width: map.width() as usize,
    };
    Ok(Image {
        shape,
        pixels: spread(map.as_raw(), readings),
    })
}

/// Whether more than a tenth of an image is clearly not grey.
fn is_coloured(image: &DynamicImage) -> bool {
    if !image.color().has_color() {
        return false;
    }
    let colours = image.to_rgb8();
    let is_clear = |[r, g, b]: [u8; 3]| r.max(g).max(b) - r.min(g).min(b) > CLEAR;
    let clear = colours.pixels().filter(|pixel| is_clear(pixel.0)).count();
    10 * clear > colours.pixels().len()
}

/// The smallest and the largest value that can be a reading; none in a map that has but one of the
/// values for "no reading".
fn readings(depths: &[u16]) -> Option<[u16; 2]> {
    let inner = depths.iter().filter(|d| !matches!(**d, 0 | u16::MAX));
    let Some((nearest, farthest)) = inner.clone().min().zip(inner.max()) else {
        // Both of them are a map of two depths.
        let both = depths.contains(&0) && depths.contains(&u16::MAX);
        return both.then_some([0, u16::MAX]);
    };
    let gap = u32::from(farthest - nearest) / GAP;
    let far = |from: u16, to: u16| u32::from(to - from) > gap.max(1);
    Some([
        if far(0, *nearest) { *nearest } else { 0 },
        if far(*farthest, u16::MAX) {
            *farthest
        } else {
            u16::MAX
        },
    ])
}

/// From the nearest reading to the farthest, 0 to 255; what is no reading becomes 255.
fn spread(depths: &[u16], readings: [u16; 2]) -> Vec<u8> {
    let is_reading = |depth: u16| (readings[0]..=readings[1]).contains(&depth);
    let read = depths.iter().copied().filter(|depth| is_reading(*depth));
    let nearest = u32::from(read.clone().min().unwrap_or(0));
    let range = u32::from(read.max().unwrap_or(0)).saturating_sub(nearest);
    let level = |depth: u16| match range {
        _ if !is_reading(depth) => u16::from(FARTHEST),
        0 => depth >> 8,
        _ => ((255 * (u32::from(depth) - nearest) + range / 2) / range) as u16,
    };
    depths.iter().map(|depth| level(*depth) as u8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Fit;
    use crate::image::MAX_PIXELS;
    use crate::image::encode_png;
    use std::io::Cursor;

    #[test]
    fn a_map_in_colour_is_refused() {
        let map = |[r, g, b]: [u8; 3]| {
            let shape = ImageShape {
                channels: 3,
                height: 1,
                width: 2,
            };
            let pixels = vec![10, r, 10, g, 10, b];
            decode(&encode_png(&Image { shape, pixels }).unwrap(), None)
        };
        let error = map([200, 40, 90]).unwrap_err().to_string();
        assert!(error.contains("depth map in colour"), "{error}");
        assert_eq!(map([200, 200, 200]).unwrap().pixels, [0, 255]);
        assert!(map([200, 180, 190]).is_ok());
    }

    fn png_16(values: &[u16], width: u32) -> Vec<u8> {
        let height = values.len() as u32 / width;
        let map =
            ImageBuffer::<::image::Luma<u16>, _>::from_raw(width, height, values.to_vec()).unwrap();
        let mut bytes = Cursor::new(vec![]);
        map.write_to(&mut bytes, ::image::ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    fn decode(bytes: &[u8], size: Option<usize>) -> Result<Image, DataError> {
        let map = super::decode(bytes, "map.png", MAX_PIXELS)?;
        Ok(match size {
            Some(side) => map.fitted(side, Fit::Crop, FARTHEST),
            None => map,
        })
    }

    fn levels(values: &[u16]) -> Vec<u8> {
        decode(&png_16(values, 2), None).unwrap().pixels
    }

    #[test]
    fn what_is_no_reading_is_far_and_out_of_the_range() {
        let none = u16::MAX;
        assert_eq!(levels(&[0, 800, 2800, 1800]), [255, 0, 255, 128]);
        assert_eq!(levels(&[none, 800, 2800, 1800]), [255, 0, 255, 128]);
        let both = [none, 800, 0, 1055, 900, 1000];
        assert_eq!(levels(&both), [255, 0, 255, 255, 100, 200]);
        assert_eq!(levels(&[0, 1200, 0, 1200]), [255, 4, 255, 4]);
        // Where readings come near them, they are readings.
        let ramp: Vec<u16> = (0..256).map(|i| i * 257).collect();
        let expected: Vec<u8> = (0..=255).collect();
        assert_eq!(levels(&ramp), expected);
        assert_eq!(levels(&[0, none, none, 0]), [0, 255, 255, 0]);
        for flat in [0, none] {
            let error = decode(&png_16(&[flat; 4], 2), None).unwrap_err();
            assert!(error.to_string().contains("without a reading"), "{error}");
        }
    }

    #[test]
    fn numbers_with_a_fraction_are_refused() {
        let metres = ::image::Rgb32FImage::from_pixel(2, 2, ::image::Rgb([1.5; 3]));
        let mut bytes = Cursor::new(vec![]);
        let metres = DynamicImage::from(metres);
        metres
            .write_to(&mut bytes, ::image::ImageFormat::Tiff)
            .unwrap();
        let error = decode(bytes.get_ref(), None).unwrap_err().to_string();
        assert!(error.contains("whole numbers"), "{error}");
    }

    /// Millimetres of a room: 8 bits of 16 would be 3 to 11 of 255.
    #[test]
    fn sixteen_bits_use_all_levels() {
        let room = [800u16, 1200, 2800, 2000];
        let image = decode(&png_16(&room, 2), None).unwrap();
        assert_eq!(image.pixels, [0, 51, 255, 153]);
        assert_eq!(image.shape.channels, 1);
        let flat = decode(&png_16(&[0x4321; 4], 2), Some(4)).unwrap();
        assert_eq!(flat.pixels, [0x43; 16]);
    }

    #[test]
    fn eight_bits_are_spread_over_all_levels() {
        let shape = ImageShape {
            channels: 1,
            height: 2,
            width: 2,
        };
        for (pixels, expected) in [
            ([0, 100, 200, 255], [0, 100, 200, 255]),
            ([10, 20, 20, 15], [0, 255, 255, 128]),
        ] {
            let pixels = pixels.to_vec();
            let bytes = encode_png(&Image { shape, pixels });
            assert_eq!(decode(&bytes.unwrap(), None).unwrap().pixels, expected);
        }
        let error = decode(b"no image", None).unwrap_err();
        assert!(error.to_string().contains("map.png"), "{error}");
    }
}
