//! Images of requests and answers: base64 or bytes to images, and back.

use crate::config::Limits;
use crate::error::ApiError;
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fewstep_data::DataError;
use fewstep_data::image::{Image, ImageKind, Layer, encode_jpeg};

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

/// The image of a field in base64, with or without the start of a data URL.
pub(crate) fn decode_base64(text: &str, field: &str, limits: &Limits) -> Result<Layer, ApiError> {
    decode(&from_base64(text, field)?, field, limits)
}

/// The image of a field as the bytes of a file, if it has no more pixels than allowed.
pub(crate) fn decode(bytes: &[u8], field: &str, limits: &Limits) -> Result<Layer, ApiError> {
    Layer::decode(bytes, &format!("`{field}`"), limits.pixels).map_err(|error| match error {
        DataError::TooLarge {
            width,
            height,
            limit,
            ..
        } => ApiError {
            field: Some(field.into()),
            ..ApiError::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!(
                    "`{field}` has {width}x{height} pixels, and this server takes at most {limit}"
                ),
            )
        },
        error => ApiError::field(field, error.to_string()),
    })
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

    #[test]
    fn images_without_pixels_are_refused() {
        for none in [&b"P5 0 4 255\n"[..], b"P6 4 0 255\n"] {
            let error = decode(none, "image", &Limits::default());
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
        let error = decode(b"P6\n60000 60000\n255\n", "image", &limits);
        let error = error.expect_err("too large");
        assert_eq!(error.status, StatusCode::PAYLOAD_TOO_LARGE);
        assert!(error.message.contains("60000x60000"), "{}", error.message);
        let error = decode_base64("no!", "image", &limits).expect_err("no base64");
        assert_eq!(error.status, StatusCode::BAD_REQUEST);
    }

    #[test]
    fn a_data_url_is_base64_too() {
        for text in ["aGVsbG8=", "data:image/png;base64,aGVsbG8=", " aGVsbG8=\n"] {
            assert_eq!(from_base64(text, "image").expect("bytes"), b"hello");
        }
    }
}
