//! Answers with restyled images.

use crate::api::running::blocking;
use crate::app::Restyling;
use crate::error::ApiError;
use crate::images::Format;
use fewstep_data::image::Image;
use fewstep_generate::scale_of;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

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

impl RestyleReply {
    /// The answer with these images.
    pub(crate) async fn of(
        restyling: &Arc<Restyling>,
        images: Arc<Vec<Image>>,
        format: Format,
    ) -> Result<Self, ApiError> {
        let restyling = restyling.clone();
        blocking(move || Self::encoded(&restyling, &images, format)).await
    }

    fn encoded(restyling: &Restyling, images: &[Image], format: Format) -> Result<Self, ApiError> {
        let [encoder, decoder] = restyling.models.clone();
        let [encoder_steps, decoder_steps] = restyling.steps;
        let of_w = (images.len() / restyling.w.len()).max(1);
        let restyled = images.iter().enumerate().map(|(number, image)| {
            let w = restyling.w[number / of_w];
            Ok(RestyledImage {
                data: format.base64(image, None)?,
                image: number % of_w,
                w,
                guidance_scale: w.map(scale_of),
            })
        });
        Ok(Self {
            encoder,
            decoder,
            encoder_steps,
            decoder_steps,
            format: format.name(),
            images: restyled.collect::<Result<_, ApiError>>()?,
            seconds: restyling.tracked.submitted.elapsed().as_secs_f64(),
            warnings: restyling.notes.clone(),
        })
    }
}
