//! Bodies of requests: JSON, or a form whose values are all texts.

use crate::api::generation::{Generation, Manners, WantedImage, WantedSubject};
use crate::api::json::too_large_or;
use crate::config::Limits;
use crate::engine::random_bytes;
use crate::error::ApiError;
use crate::images::{Format, InputImage};
use axum::extract::Multipart;
use fewstep_generate::w_of;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use std::str::FromStr;

/// The fields of OpenAI's requests and, next to them, those of this server and of others.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ImagesBody {
    pub(super) prompt: Option<String>,
    model: Option<String>,
    #[serde(deserialize_with = "number")]
    n: Option<usize>,
    size: Option<String>,
    background: Option<String>,
    output_format: Option<String>,
    #[serde(deserialize_with = "number")]
    output_compression: Option<u8>,
    pub(super) response_format: Option<String>,
    #[serde(deserialize_with = "number")]
    stream: Option<bool>,
    #[serde(deserialize_with = "number")]
    partial_images: Option<usize>,
    /// They mean nothing for these models.
    #[serde(rename = "quality")]
    _quality: Option<Value>,
    #[serde(rename = "style")]
    _style: Option<Value>,
    #[serde(rename = "moderation")]
    _moderation: Option<Value>,
    #[serde(rename = "user")]
    _user: Option<Value>,
    #[serde(rename = "input_fidelity")]
    _input_fidelity: Option<Value>,
    negative_prompt: Option<String>,
    #[serde(alias = "num_inference_steps", deserialize_with = "number")]
    steps: Option<usize>,
    #[serde(deserialize_with = "number")]
    guidance_scale: Option<f64>,
    #[serde(deserialize_with = "number")]
    w: Option<f64>,
    #[serde(deserialize_with = "number")]
    seed: Option<u64>,
    class: Option<Value>,
    sampler: Option<String>,
    #[serde(deserialize_with = "number")]
    strength: Option<f64>,
}

/// A number or a truth value, or its text.
fn number<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr,
{
    let text = match Value::deserialize(deserializer)? {
        Value::Null => return Ok(None),
        Value::String(text) => text,
        value => value.to_string(),
    };
    let wrong = || serde::de::Error::custom(format!("`{text}` is not a value for this field"));
    text.trim().parse().map(Some).map_err(|_| wrong())
}

/// How an answer is given.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delivery {
    pub(super) format: Format,
    /// As addresses instead of base64.
    pub(super) as_urls: bool,
    pub(super) stream: bool,
    /// Previews of each image, at most.
    pub(super) partial: usize,
}

impl ImagesBody {
    pub(super) fn delivery(&self) -> Result<Delivery, ApiError> {
        let format = Format::parse(
            self.output_format.as_deref().unwrap_or("png"),
            "output_format",
        )?;
        let as_urls = match self.response_format.as_deref() {
            None | Some("b64_json") => false,
            Some("url") => true,
            Some(other) => {
                let message = format!("`response_format` must be url or b64_json, not `{other}`");
                return Err(ApiError::field("response_format", message));
            }
        };
        if self.background.as_deref() == Some("transparent") {
            let message = "these models generate no transparent images";
            return Err(ApiError::field("background", message));
        }
        let partial = self.partial_images.unwrap_or(0);
        if partial > 3 {
            let message = "`partial_images` must be 0 to 3";
            return Err(ApiError::field("partial_images", message));
        }
        if self.output_compression.is_some_and(|quality| quality > 100) {
            let message = "`output_compression` must be 0 to 100";
            return Err(ApiError::field("output_compression", message));
        }
        Ok(Delivery {
            format: Format {
                quality: self.output_compression.map(|quality| quality.max(1)),
                ..format
            },
            as_urls,
            stream: self.stream.unwrap_or(false),
            partial,
        })
    }

    pub(super) fn strength(&self) -> f64 {
        self.strength.unwrap_or(0.6)
    }

    pub(super) fn generation(self, limits: &Limits) -> Result<Generation, ApiError> {
        let count = self.n.unwrap_or(1);
        if !(1..=limits.images).contains(&count) {
            let message = format!("`n` must be 1 to {}, not {count}", limits.images);
            return Err(ApiError::field("n", message));
        }
        let w = match (self.w, self.guidance_scale) {
            (Some(_), Some(_)) => {
                let message = "give `w` or `guidance_scale`, not both: the scale is 1 + w";
                return Err(ApiError::field("guidance_scale", message));
            }
            (w, scale) => w.or(scale.map(w_of)),
        };
        let subject = match (self.class, self.prompt) {
            (Some(Value::String(name)), _) => WantedSubject::Class(name),
            (Some(number), _) => WantedSubject::Class(number.to_string()),
            (None, Some(prompt)) => WantedSubject::Prompt(prompt),
            (None, None) => {
                return Err(ApiError::field("prompt", "the `prompt` is missing"));
            }
        };
        let seed = self
            .seed
            .unwrap_or_else(|| u32::from_le_bytes(random_bytes()).into());
        let images = (0..count as u64).map(|index| WantedImage {
            subject: subject.clone(),
            w,
            seed,
            index,
        });
        Ok(Generation {
            model: self.model,
            steps: self.steps,
            sampler: self.sampler,
            negative: self.negative_prompt.unwrap_or_default(),
            size: size(self.size.as_deref())?,
            images: images.collect(),
            manners: Manners::ClassesInPrompts,
            ..Generation::default()
        })
    }
}

/// Height and width from `WIDTHxHEIGHT`; none for `auto`.
fn size(text: Option<&str>) -> Result<Option<[usize; 2]>, ApiError> {
    let text = match text {
        None | Some("auto" | "") => return Ok(None),
        Some(text) => text,
    };
    let sides = text.split_once('x');
    let sides = sides.and_then(|(w, h)| Some([h.parse().ok()?, w.parse().ok()?]));
    match sides {
        Some(sides) => Ok(Some(sides)),
        None => {
            let message = format!("`size` must be auto or such as 512x768, not `{text}`");
            Err(ApiError::field("size", message))
        }
    }
}

/// A form with an image, perhaps a mask, and fields.
pub(super) struct Form {
    pub(super) body: ImagesBody,
    pub(super) image: InputImage,
    pub(super) mask: Option<InputImage>,
}

impl Form {
    pub(super) async fn read(mut form: Multipart, limits: &Limits) -> Result<Self, ApiError> {
        let (mut fields, mut images, mut mask) = (Map::new(), vec![], None);
        let broken = |error: axum::extract::multipart::MultipartError| too_large_or(error.status());
        while let Some(field) = form.next_field().await.map_err(broken)? {
            let name = field.name().unwrap_or_default().to_owned();
            let bytes = field.bytes().await.map_err(broken)?;
            match name.as_str() {
                "image" | "image[]" => images.push(bytes),
                "mask" => mask = Some(bytes),
                _ => {
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    fields.insert(name, Value::String(text));
                }
            }
        }
        let body = serde_json::from_value(Value::Object(fields));
        let body =
            body.map_err(|error| ApiError::bad(format!("the form cannot be read: {error}")))?;
        if images.len() > 1 {
            let message = "several images were sent, and these models change one at a time";
            return Err(ApiError::field("image", message));
        }
        let Some(image) = images.pop() else {
            return Err(ApiError::field("image", "the `image` is missing"));
        };
        let mask = mask.map(|mask| InputImage::from_bytes(&mask, "mask", limits));
        Ok(Self {
            body,
            image: InputImage::from_bytes(&image, "image", limits)?,
            mask: mask.transpose()?,
        })
    }
}
