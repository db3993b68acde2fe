//! Images of one class or prompt become images of another.

use super::body::OneOrMany;
use crate::api::class::ClassName;
use crate::api::json::JsonBody;
use crate::api::running::blocking;
use crate::app::App;
use crate::config::Limits;
use crate::engine::Loaded;
use crate::error::ApiError;
use crate::images::{Format, decode_base64};
use axum::Json;
use axum::extract::State;
use fewstep_data::image::{Image, Layer};
use fewstep_diffusion::Sampler;
use fewstep_generate::{
    GenerateError, RestyleError, RestyleRequest, Restyler, Subject, find_class, scale_of, w_of,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Instant;
use utoipa::ToSchema;

/// Steps of a teacher in each direction, where a request has none.
const TEACHER_STEPS: usize = 64;

/// What to restyle: an encoder and a decoder, or one model that does both.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RestyleBody {
    /// The model that was distilled to encode. With `decoder`.
    encoder: Option<String>,
    /// The model that decodes: a student for the deterministic sampler.
    decoder: Option<String>,
    /// A teacher that does both with DDIM, instead of `encoder` and `decoder`.
    model: Option<String>,
    /// Steps of the encoder and of the decoder; by default those that they were distilled for, and 64
    /// of a teacher.
    steps: Option<usize>,
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

/// Restyled images, and how they were made.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RestyleReply {
    /// The name of the encoder.
    encoder: String,
    /// The name of the decoder.
    decoder: String,
    /// Steps of the encoder.
    encoder_steps: usize,
    /// Steps of the decoder.
    decoder_steps: usize,
    /// `png`, `jpeg` or `webp`.
    format: &'static str,
    /// Seconds from the arrival of the request.
    seconds: f64,
    /// What the person should know: settings that the models were not trained for.
    warnings: Vec<String>,
    /// All images for the first w, then all for the second, and so on.
    images: Vec<RestyledImage>,
}

/// A restyled image.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RestyledImage {
    /// The file, in base64.
    data: String,
    /// The number of the image that it was made from.
    image: usize,
    /// Guidance weight; none for models without guidance.
    w: Option<f64>,
    /// The same as diffusers' scale, 1 + w.
    guidance_scale: Option<f64>,
}

/// Turns images of one class or prompt into images of another: they are encoded to noise as the one
/// and decoded as the other. When the client leaves, it ends at the next step.
#[utoipa::path(post, path = "/api/v1/restyle", tag = "generate", request_body = RestyleBody,
    responses(
        (status = 200, body = RestyleReply),
        (status = 400, description = "the request contradicts itself or the models"),
        (status = 404, description = "no such model"),
        (status = 413, description = "a body or an image is too large"),
        (status = 429, description = "too many requests wait: see Retry-After"),
        (status = 504, description = "it took too long"),
    ))]
pub(super) async fn restyle(
    State(app): State<Arc<App>>,
    JsonBody(body): JsonBody<RestyleBody>,
) -> Result<Json<RestyleReply>, ApiError> {
    let started = Instant::now();
    let accepted = app.engine.accept()?;
    let limits = app.config.limits;
    let format = Format::parse(body.format.as_deref().unwrap_or("png"), "format")?;
    let weights = body.weights()?;
    let decode = move || body.layers(&limits).map(|layers| (body, layers));
    let (body, layers) = blocking(decode).await?;
    body.check(layers.len(), weights.len(), &limits)?;
    let (encoder, decoder, is_teacher) = match (&body.model, &body.encoder, &body.decoder) {
        (Some(model), None, None) => (model, model, true),
        (None, Some(encoder), Some(decoder)) => (encoder, decoder, false),
        _ => {
            let message = "give an `encoder` and a `decoder`, or a `model` that does both";
            return Err(ApiError::field("encoder", message));
        }
    };
    let encoder = accepted.model(Some(encoder), body.steps, &[]).await?;
    let decoder = accepted.model(Some(decoder), body.steps, &[]).await?;
    let [of_encoder, of_decoder] = [&encoder, &decoder].map(|model| model.name.clone());
    let engine = app.engine.clone();
    let work = move |go_on: &dyn Fn() -> std::ops::ControlFlow<()>| {
        let restyler = restyler(&encoder, &decoder)?;
        let request = body.request(&restyler, &layers, weights, is_teacher)?;
        let needed = restyler.memory(&request)?;
        if !engine.catalog.allows(needed, &[&encoder, &decoder]) {
            return Err(ApiError::field(
                "image",
                "so many images take more memory than models may take on this server: give fewer images, or fewer weights `w`",
            ));
        }
        let warnings = restyler.check(&request)?;
        let warnings = warnings.iter().map(ToString::to_string).collect();
        let made = restyler.restyle(&request, &mut |_| go_on())?;
        Ok((
            made,
            request,
            warnings,
            restyler.decoder().effective_w(None),
        ))
    };
    let (made, request, warnings, default_w) = accepted.run(work).await?;
    let weights = request.w.iter().map(|w| w.or(default_w)).collect();
    Ok(Json(RestyleReply {
        encoder: of_encoder,
        decoder: of_decoder,
        encoder_steps: request.encoder_steps,
        decoder_steps: request.decoder_steps,
        format: format.name(),
        images: blocking(move || encoded(&made, weights, format)).await?,
        seconds: started.elapsed().as_secs_f64(),
        warnings,
    }))
}

fn encoded(
    made: &[Vec<Image>],
    weights: Vec<Option<f64>>,
    format: Format,
) -> Result<Vec<RestyledImage>, ApiError> {
    let mut images = vec![];
    for (of_w, w) in made.iter().zip(weights) {
        for (number, image) in of_w.iter().enumerate() {
            images.push(RestyledImage {
                data: format.base64(image, None)?,
                image: number,
                w,
                guidance_scale: w.map(scale_of),
            });
        }
    }
    Ok(images)
}

fn restyler(encoder: &Loaded, decoder: &Loaded) -> Result<Restyler, ApiError> {
    let parts = encoder.generator.components();
    let model = encoder.generator.model().clone();
    Ok(Restyler::new(model, parts, decoder.generator.clone())?)
}

impl RestyleBody {
    fn layers(&self, limits: &Limits) -> Result<Vec<Layer>, ApiError> {
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
    fn weights(&self) -> Result<Vec<Option<f64>>, ApiError> {
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

    fn check(&self, images: usize, weights: usize, limits: &Limits) -> Result<(), ApiError> {
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

    fn request(
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

impl From<RestyleError> for ApiError {
    fn from(error: RestyleError) -> Self {
        let (model, error) = match error {
            RestyleError::Encoder(error) => ("encoder", error),
            RestyleError::Decoder(error) => ("decoder", error),
            error => return Self::field("encoder", error.to_string()),
        };
        if matches!(error, GenerateError::Cancelled | GenerateError::Format(_)) {
            return error.into();
        }
        Self::field(model, format!("the {model}: {error}"))
    }
}
