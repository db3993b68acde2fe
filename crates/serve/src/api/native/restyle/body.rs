//! Bodies of requests to restyle.

use super::super::body::OneOrMany;
use crate::api::class::ClassName;
use crate::config::Limits;
use crate::error::ApiError;
use crate::images::{Format, decode_base64};
use fewstep_data::image::Layer;
use fewstep_diffusion::Sampler;
use fewstep_generate::{RestyleRequest, Restyler, Subject, find_class, w_of};
use serde::Deserialize;
use utoipa::ToSchema;

/// Steps of a teacher in each direction, where a request has none.
const TEACHER_STEPS: usize = 64;

/// What to restyle: an encoder and a decoder, or one model that does both.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RestyleBody {
    /// The model that was distilled to encode. With `decoder`.
    pub(super) encoder: Option<String>,
    /// The model that decodes: a student for the deterministic sampler.
    pub(super) decoder: Option<String>,
    /// A teacher that does both with DDIM, instead of `encoder` and `decoder`.
    pub(super) model: Option<String>,
    /// Steps of the encoder and of the decoder; by default those that they were distilled for, and 64
    /// of a teacher.
    pub(super) steps: Option<usize>,
    /// The image in base64, or a list of them. Each is scaled to cover the size that the models work
    /// on, and its middle is taken.
    image: Option<OneOrMany<String>>,
    /// The class of the images, by number or name, or a prompt that says what they show.
    from: Option<ClassName>,
    /// The class or the prompt of what they become.
    to: Option<ClassName>,
    /// Guidance weight w of the decoder; a list gives every image once for each.
    w: Option<OneOrMany<f64>>,
    /// Guidance scale of diffusers, which is 1 + w. Instead of `w`.
    guidance_scale: Option<OneOrMany<f64>>,
    /// Guidance weight for encoding; by default 0, or the nearest that the encoder was distilled for.
    w_encode: Option<f64>,
    /// `png` (the default), `jpeg` or `webp`.
    format: Option<String>,
}

impl RestyleBody {
    /// The format of the images of the answer.
    pub(crate) fn format(&self) -> Result<Format, ApiError> {
        Format::parse(self.format.as_deref().unwrap_or("png"), "format")
    }

    /// The encoder and the decoder, and whether one teacher is both.
    pub(super) fn models(&self) -> Result<(&str, &str, bool), ApiError> {
        match (&self.model, &self.encoder, &self.decoder) {
            (Some(model), None, None) => Ok((model, model, true)),
            (None, Some(encoder), Some(decoder)) => Ok((encoder, decoder, false)),
            _ => {
                let message = "give an `encoder` and a `decoder`, or a `model` that does both";
                Err(ApiError::field("encoder", message))
            }
        }
    }

    pub(super) fn layers(&self, limits: &Limits) -> Result<Vec<Layer>, ApiError> {
        let images = match &self.image {
            Some(OneOrMany::One(image)) => std::slice::from_ref(image),
            Some(OneOrMany::Many(images)) => images,
            None => &[],
        };
        let images = images.iter().take(limits.images + 1);
        images
            .map(|image| decode_base64(image, "image", limits))
            .collect()
    }

    /// The weights, with one result for each; none is the decoder's default.
    pub(super) fn weights(&self) -> Result<Vec<Option<f64>>, ApiError> {
        let (given, is_scale) = match (&self.w, &self.guidance_scale) {
            (Some(_), Some(_)) => {
                let message = "give `w` or `guidance_scale`, not both: the scale is 1 + w";
                return Err(ApiError::field("guidance_scale", message));
            }
            (w, None) => (w, false),
            (None, scales) => (scales, true),
        };
        let of = |value: &f64| Some(if is_scale { w_of(*value) } else { *value });
        Ok(match given {
            None => vec![None],
            Some(OneOrMany::One(value)) => vec![of(value)],
            Some(OneOrMany::Many(values)) => values.iter().map(of).collect(),
        })
    }

    pub(super) fn check(
        &self,
        images: usize,
        weights: usize,
        limits: &Limits,
    ) -> Result<(), ApiError> {
        let results = images.saturating_mul(weights);
        if results == 0 || results > limits.images {
            let message = format!(
                "{images} images with {weights} weights each are {results} results, and this server allows 1 to {}",
                limits.images
            );
            return Err(ApiError::field("image", message));
        }
        if let Some(steps) = self
            .steps
            .filter(|steps| !(1..=limits.steps).contains(steps))
        {
            let message = format!("`steps` must be 1 to {}, not {steps}", limits.steps);
            return Err(ApiError::field("steps", message));
        }
        let texts = [&self.from, &self.to].into_iter().flatten();
        match texts.map(|text| text.clone().text().len()).max() {
            Some(longest) if longest > limits.prompt => Err(ApiError::field(
                "from",
                format!(
                    "a prompt has {longest} bytes, and this server allows at most {}",
                    limits.prompt
                ),
            )),
            _ => Ok(()),
        }
    }

    pub(super) fn request(
        &self,
        restyler: &Restyler,
        layers: &[Layer],
        weights: Vec<Option<f64>>,
        is_teacher: bool,
    ) -> Result<RestyleRequest, ApiError> {
        let decoder = restyler.decoder();
        // Latent models of classes keep the names with the text encoder, which both share.
        let encoder_classes = match decoder.is_latent() {
            true => decoder.classes(),
            false => &restyler.encoder().recipe.classes,
        };
        let subject = |given: &Option<ClassName>, field: &str, classes: &[String]| {
            let Some(given) = given.clone() else {
                return Err(ApiError::field(
                    field,
                    format!("the field `{field}` is missing"),
                ));
            };
            let text = given.text();
            if decoder.takes_prompts() {
                return Ok(Subject::Prompt(text));
            }
            let class = find_class(&text, classes);
            class
                .map(Subject::Class)
                .map_err(|error| ApiError::field(field, error.to_string()))
        };
        let [encoder_shape, shape] = restyler.shapes();
        if encoder_shape != shape {
            let message = format!(
                "the models work on images of different shapes, {encoder_shape} and {shape}: give models that were trained on the same images"
            );
            return Err(ApiError::field("decoder", message));
        }
        let size = [shape.height, shape.width];
        let images = layers
            .iter()
            .map(|layer| layer.image(shape.channels).covering(size));
        let steps = match is_teacher {
            true => Some(self.steps.unwrap_or(TEACHER_STEPS)),
            false => self.steps,
        };
        let [encoder_steps, decoder_steps] = restyler.default_steps();
        Ok(RestyleRequest {
            images: images.collect(),
            from: subject(&self.from, "from", encoder_classes)?,
            to: subject(&self.to, "to", decoder.classes())?,
            encoder_steps: steps.unwrap_or(encoder_steps),
            decoder_steps: steps.unwrap_or(decoder_steps),
            sampler: match is_teacher {
                true => Sampler::DDIM.into(),
                false => Sampler::Deterministic.into(),
            },
            encoder_w: self.w_encode,
            w: weights,
        })
    }
}
