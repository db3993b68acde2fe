//! Bodies of requests: JSON, or a form whose values are all texts.

use crate::api::class::ClassName;
use crate::api::generation::{Generation, Manners, WantedImage, WantedSubject};
use crate::api::json::{read, too_large_or};
use crate::api::lora::LoraBody;
use crate::api::schema::BodySchema;
use crate::api::seed::Seed;
use crate::config::Limits;
use crate::error::ApiError;
use crate::images::{Format, decode};
use axum::extract::Multipart;
use fewstep_data::image::Layer;
use fewstep_generate::w_of;
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// The fields of OpenAI's requests and, next to them, those of this server and of others.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ImagesBody {
    /// What the images show; for models of classes, a text that names one.
    prompt: Option<String>,
    /// The name of a model; by default the server's first.
    model: Option<String>,
    /// Number of images, 1 if there is none.
    n: Option<usize>,
    /// `auto`, or width and height such as 512x768.
    size: Option<String>,
    /// `auto` or `opaque`.
    background: Option<String>,
    /// `png`, `jpeg` or `webp`.
    output_format: Option<String>,
    /// Quality of JPEG, 0 to 100.
    output_compression: Option<usize>,
    /// `b64_json` or `url`.
    response_format: Option<String>,
    /// Whether the answer is a stream of events.
    stream: Option<bool>,
    /// Previews of each image in a stream, 0 to 3.
    partial_images: Option<usize>,
    /// It means nothing for these models, as do the next four.
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
    /// How many of the last layers of the CLIP text encoder are skipped, as diffusers counts them.
    clip_skip: Option<usize>,
    /// What the images must not show, for models with classifier-free guidance.
    negative_prompt: Option<String>,
    /// Sampling steps; by default those that the model was distilled for.
    steps: Option<usize>,
    /// The same under diffusers' name.
    num_inference_steps: Option<usize>,
    /// Guidance scale of diffusers, which is 1 + w.
    guidance_scale: Option<f64>,
    /// Guidance weight w of the papers; by default the model's own.
    w: Option<f64>,
    /// -1, the default, is a random one.
    seed: Option<Seed>,
    /// A class by number or name, instead of the prompt.
    class: Option<ClassName>,
    /// LoRA to add to the model; a prompt may name them too, as `<lora:name:weight>`.
    loras: Option<Vec<LoraBody>>,
    /// The sampler; by default the one that the model was made for.
    sampler: Option<String>,
    /// Edits: how much of the image may change, above 0 and at most 1; by default 0.6.
    strength: Option<f64>,
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
                quality: self.output_compression.map(|quality| quality.max(1) as u8),
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
        let steps = match (self.steps, self.num_inference_steps) {
            (Some(_), Some(_)) => {
                let message = "give `steps` or `num_inference_steps`, not both";
                return Err(ApiError::field("num_inference_steps", message));
            }
            (steps, other) => steps.or(other),
        };
        let subject = match (self.class, self.prompt) {
            (Some(class), _) => WantedSubject::Class(class.text()),
            (None, Some(prompt)) => WantedSubject::Prompt(prompt),
            (None, None) => {
                return Err(ApiError::field("prompt", "the `prompt` is missing"));
            }
        };
        let seed = self.seed.unwrap_or(Seed::RANDOM).value();
        let images = (0..count as u64).map(|index| WantedImage {
            subject: subject.clone(),
            w,
            seed,
            index,
        });
        Ok(Generation {
            model: self.model,
            steps,
            sampler: self.sampler,
            negative: self.negative_prompt.unwrap_or_default(),
            clip_skip: self.clip_skip,
            loras: self.loras.into_iter().flatten().map(Into::into).collect(),
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
    pub(super) image: Layer,
    pub(super) mask: Option<Layer>,
}

impl Form {
    pub(super) async fn read(mut form: Multipart, limits: &Limits) -> Result<Self, ApiError> {
        let schema = BodySchema::of::<ImagesBody>();
        let (mut fields, mut images, mut mask) = (Map::new(), vec![], None);
        let broken = |error: axum::extract::multipart::MultipartError| too_large_or(error.status());
        while let Some(field) = form.next_field().await.map_err(broken)? {
            let name = field.name().unwrap_or_default().to_owned();
            let bytes = field.bytes().await.map_err(broken)?;
            match name.as_str() {
                "image" | "image[]" => images.push(bytes),
                "mask" => mask = Some(bytes),
                _ => {
                    let text = String::from_utf8_lossy(&bytes);
                    let value = schema.value_of(&name, &text);
                    fields.insert(name, value);
                }
            }
        }
        let body: ImagesBody = read(fields)?;
        if images.len() > 1 {
            let message = "several images were sent, and these models change one at a time";
            return Err(ApiError::field("image", message));
        }
        let Some(image) = images.pop() else {
            return Err(ApiError::field("image", "the `image` is missing"));
        };
        let mask = mask.map(|mask| decode(&mask, "mask", limits));
        Ok(Self {
            body,
            image: decode(&image, "image", limits)?,
            mask: mask.transpose()?,
        })
    }
}
