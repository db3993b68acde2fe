//! Images of requests and answers: base64 or bytes to pixels, and back.

use crate::config::Limits;
use crate::error::ApiError;
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fewstep_data::ImageShape;
use fewstep_data::image::{Image, ImageKind, encode_jpeg};
use image::imageops::{FilterType, crop_imm, resize};
use image::{DynamicImage, ImageDecoder, ImageReader, RgbaImage};
use std::io::Cursor;

/// An image of a request, decoded.
#[derive(Clone, Debug)]
pub(crate) struct InputImage(RgbaImage);

/// The bytes of base64, with or without the start of a data URL.
pub(crate) fn from_base64(text: &str, field: &str) -> Result<Vec<u8>, ApiError> {
    let data = match text.split_once(";base64,") {
        Some((head, data)) if head.starts_with("data:") => data,
        _ => text,
    };
    let bytes = STANDARD.decode(data.trim());
    bytes.map_err(|error| {
        let message =
            format!("`{field}` is no base64 ({error}): send the bytes of an image file in base64");
        ApiError::field(field, message)
    })
}

/// Which part of a mask is to be filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MaskKind {
    /// What is white.
    White,
    /// What is transparent.
    Transparent,
}

impl InputImage {
    /// Decodes base64, with or without the start of a data URL.
    pub(crate) fn from_base64(text: &str, field: &str, limits: &Limits) -> Result<Self, ApiError> {
        let bytes = from_base64(text, field)?;
        Self::from_bytes(&bytes, field, limits)
    }

    /// Decodes the bytes of an image file, if it has no more pixels than allowed.
    pub(crate) fn from_bytes(bytes: &[u8], field: &str, limits: &Limits) -> Result<Self, ApiError> {
        let unreadable = |error: image::ImageError| {
            ApiError::field(
                field,
                format!("`{field}` is no image that can be read: {error}"),
            )
        };
        let mut bounds = image::Limits::no_limits();
        bounds.max_alloc = Some(limits.pixels.saturating_mul(16).saturating_add(64 << 20));
        let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format();
        let mut reader = reader.map_err(|error| unreadable(error.into()))?;
        reader.limits(bounds);
        let mut decoder = reader.into_decoder().map_err(unreadable)?;
        let (width, height) = decoder.dimensions();
        if u64::from(width) * u64::from(height) > limits.pixels {
            return Err(ApiError {
                field: Some(field.into()),
                ..ApiError::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    format!(
                        "`{field}` has {width}x{height} pixels, and this server takes at most {}",
                        limits.pixels
                    ),
                )
            });
        }
        if width == 0 || height == 0 {
            let message = format!("`{field}` has no pixels ({width}x{height})");
            return Err(ApiError::field(field, message));
        }
        let orientation = decoder.orientation().map_err(unreadable)?;
        let mut image = DynamicImage::from_decoder(decoder).map_err(unreadable)?;
        image.apply_orientation(orientation);
        Ok(Self(image.into_rgba8()))
    }

    /// Height and width.
    pub(crate) fn size(&self) -> [usize; 2] {
        [self.0.height() as usize, self.0.width() as usize]
    }

    /// The image in this shape: scaled until it covers it, its middle, over white.
    pub(crate) fn shaped(&self, shape: ImageShape) -> Image {
        let covered = self.covering([shape.height, shape.width]);
        let area = shape.height * shape.width;
        let mut pixels = vec![0; 3 * area];
        for (at, pixel) in covered.pixels().enumerate() {
            let alpha = u32::from(pixel.0[3]);
            for channel in 0..3 {
                let value = u32::from(pixel.0[channel]) * alpha + 255 * (255 - alpha);
                pixels[channel * area + at] = ((value + 127) / 255) as u8;
            }
        }
        let colour = ImageShape {
            channels: 3,
            ..shape
        };
        let image = Image {
            shape: colour,
            pixels,
        };
        image.with_channels(shape.channels)
    }

    /// The mask of this height and width: 255 where it is to be filled, else 0.
    pub(crate) fn mask(
        &self,
        size: [usize; 2],
        kind: MaskKind,
        field: &str,
    ) -> Result<Image, ApiError> {
        let covered = self.covering(size);
        let filled = covered.pixels().map(|pixel| {
            let [r, g, b, alpha] = pixel.0.map(u32::from);
            let is_filled = match kind {
                MaskKind::White => (r + g + b) * alpha >= 3 * 128 * 255,
                MaskKind::Transparent => alpha < 128,
            };
            255 * u8::from(is_filled)
        });
        let pixels: Vec<u8> = filled.collect();
        if pixels.iter().all(|&value| value == 0) {
            let what = match kind {
                MaskKind::White => "white",
                MaskKind::Transparent => "transparent",
            };
            return Err(ApiError::field(
                field,
                format!("nothing of `{field}` is {what}, so nothing would be filled"),
            ));
        }
        Ok(Image {
            shape: ImageShape {
                channels: 1,
                height: size[0],
                width: size[1],
            },
            pixels,
        })
    }

    /// Whether any of it is transparent.
    pub(crate) fn has_transparent_parts(&self) -> bool {
        self.0.pixels().any(|pixel| pixel.0[3] < 128)
    }

    /// With black and white exchanged.
    pub(crate) fn inverted(mut self) -> Self {
        for pixel in self.0.pixels_mut() {
            for value in &mut pixel.0[..3] {
                *value = 255 - *value;
            }
        }
        self
    }

    fn covering(&self, [height, width]: [usize; 2]) -> RgbaImage {
        let (height, width) = (height as u32, width as u32);
        let (from_width, from_height) = self.0.dimensions();
        if (from_width, from_height) == (width, height) {
            return self.0.clone();
        }
        // The largest part of the same proportions.
        let part_width = (u64::from(from_height) * u64::from(width) / u64::from(height)) as u32;
        let part_width = part_width.clamp(1, from_width);
        let part_height = (u64::from(from_width) * u64::from(height) / u64::from(width)) as u32;
        let part_height = part_height.clamp(1, from_height);
        let left = (from_width - part_width) / 2;
        let top = (from_height - part_height) / 2;
        let part = crop_imm(&self.0, left, top, part_width, part_height);
        resize(&*part, width, height, FilterType::Lanczos3)
    }
}

/// The kind of file that an answer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    pub(crate) kind: ImageKind,
    /// Of JPEG, 1 to 100.
    pub(crate) quality: Option<u8>,
}

impl Format {
    pub(crate) const PNG: Self = Self {
        kind: ImageKind::Png,
        quality: None,
    };

    pub(crate) fn parse(name: &str, field: &str) -> Result<Self, ApiError> {
        let kind = match name.to_ascii_lowercase().as_str() {
            "png" => ImageKind::Png,
            "jpeg" | "jpg" => ImageKind::Jpeg,
            "webp" => ImageKind::WebP,
            _ => {
                let message = format!("`{field}` must be png, jpeg or webp, not `{name}`");
                return Err(ApiError::field(field, message));
            }
        };
        Ok(Self {
            kind,
            quality: None,
        })
    }

    pub(crate) fn name(self) -> &'static str {
        match self.kind {
            ImageKind::Png => "png",
            ImageKind::Jpeg => "jpeg",
            ImageKind::WebP => "webp",
        }
    }

    /// The bytes of an image file, with the text about the image where the kind has room for it.
    pub(crate) fn encode(
        self,
        image: &Image,
        parameters: Option<&str>,
    ) -> Result<Vec<u8>, ApiError> {
        let bytes = match (self.kind, self.quality) {
            (ImageKind::Jpeg, Some(quality)) => encode_jpeg(image, quality),
            (kind, _) => kind.encode(image, parameters),
        };
        bytes.map_err(|error| {
            tracing::error!(%error, "an image cannot be encoded");
            ApiError::internal()
        })
    }

    /// The same in base64.
    pub(crate) fn base64(
        self,
        image: &Image,
        parameters: Option<&str>,
    ) -> Result<String, ApiError> {
        Ok(STANDARD.encode(self.encode(image, parameters)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{ImageFormat, Rgba};

    fn png(image: &RgbaImage) -> Vec<u8> {
        let mut bytes = Cursor::new(vec![]);
        let image = DynamicImage::from(image.clone());
        image
            .write_to(&mut bytes, ImageFormat::Png)
            .expect("written");
        bytes.into_inner()
    }

    #[test]
    fn images_are_scaled_to_cover_and_cropped_to_their_middle() {
        let mut wide = RgbaImage::from_pixel(8, 4, Rgba([255, 255, 255, 255]));
        for y in 0..4 {
            for x in 2..6 {
                wide.put_pixel(x, y, Rgba([0, 0, 0, 255]));
            }
        }
        let image = InputImage::from_bytes(&png(&wide), "image", &Limits::default());
        let shape = ImageShape {
            channels: 1,
            height: 2,
            width: 2,
        };
        assert_eq!(image.expect("read").shaped(shape).pixels, [0; 4]);
    }

    #[test]
    fn masks_are_white_or_transparent_and_never_empty() {
        let mut mask = RgbaImage::from_pixel(2, 1, Rgba([255, 255, 255, 255]));
        mask.put_pixel(1, 0, Rgba([0, 0, 0, 0]));
        let image = InputImage::from_bytes(&png(&mask), "mask", &Limits::default()).expect("read");
        let of = |kind| image.mask([1, 2], kind, "mask").expect("a mask").pixels;
        assert_eq!(of(MaskKind::White), [255, 0]);
        assert_eq!(of(MaskKind::Transparent), [0, 255]);
        let black = RgbaImage::from_pixel(2, 2, Rgba([0, 0, 0, 255]));
        let black = InputImage::from_bytes(&png(&black), "mask", &Limits::default()).expect("read");
        for kind in [MaskKind::White, MaskKind::Transparent] {
            assert!(black.mask([2, 2], kind, "mask").is_err());
        }
        assert!(
            black
                .inverted()
                .mask([2, 2], MaskKind::White, "mask")
                .is_ok()
        );
    }

    #[test]
    fn images_without_pixels_are_refused() {
        for none in [&b"P5 0 4 255\n"[..], b"P6 4 0 255\n"] {
            let error = InputImage::from_bytes(none, "image", &Limits::default());
            let error = error.expect_err("refused");
            assert!(error.message.contains("no pixels"), "{}", error.message);
            assert_eq!(error.status, StatusCode::BAD_REQUEST);
        }
    }

    #[test]
    fn too_many_pixels_are_refused_by_the_header_alone() {
        let limits = Limits {
            pixels: 100,
            ..Limits::default()
        };
        let error = InputImage::from_bytes(b"P6\n60000 60000\n255\n", "image", &limits);
        let error = error.expect_err("too large");
        assert_eq!(error.status, StatusCode::PAYLOAD_TOO_LARGE);
        assert!(error.message.contains("60000x60000"), "{}", error.message);
        let error = InputImage::from_base64("no!", "image", &limits).expect_err("no base64");
        assert_eq!(error.status, StatusCode::BAD_REQUEST);
    }
}
