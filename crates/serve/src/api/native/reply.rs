//! Answers.

use crate::api::running::blocking;
use crate::app::Submitted;
use crate::error::ApiError;
use crate::images::Format;
use fewstep_data::image::Image;
use fewstep_generate::{Subject, scale_of};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// Generated images, and how they were made.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct GenerateReply {
    /// The name of the model.
    pub(crate) model: String,
    /// Sampling steps.
    pub(crate) steps: usize,
    /// The sampler.
    pub(crate) sampler: String,
    /// Width in pixels.
    pub(crate) width: usize,
    /// Height in pixels.
    pub(crate) height: usize,
    /// `png`, `jpeg` or `webp`.
    pub(crate) format: &'static str,
    /// Seconds from the arrival of the request.
    pub(crate) seconds: f64,
    /// Images in the largest network call that had images of this request, those of other clients
    /// included.
    pub(crate) batch: usize,
    /// What the person should know: settings that the model was not trained for, prompts cut off.
    pub(crate) warnings: Vec<String>,
    /// The images.
    pub(crate) images: Vec<ImageReply>,
}

/// One image.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ImageReply {
    /// The file, in base64.
    pub(crate) data: String,
    /// Its seed.
    pub(crate) seed: u64,
    /// Its number among the images of the seed.
    pub(crate) index: u64,
    /// Guidance weight; none for models without guidance.
    pub(crate) w: Option<f64>,
    /// The same as diffusers' scale, 1 + w.
    pub(crate) guidance_scale: Option<f64>,
    /// Its prompt.
    pub(crate) prompt: Option<String>,
    /// The name of its class.
    pub(crate) class: Option<String>,
    /// How it was made, as tools for Stable Diffusion write it; PNG files hold it too.
    pub(crate) parameters: String,
}

impl Submitted {
    /// The answer with the images of the job.
    pub(crate) async fn reply(
        &self,
        images: Arc<Vec<Image>>,
        format: Format,
    ) -> Result<GenerateReply, ApiError> {
        let submitted = self.clone();
        blocking(move || submitted.encoded(&images, format)).await
    }

    fn encoded(&self, images: &[Image], format: Format) -> Result<GenerateReply, ApiError> {
        let (job, generator) = (&self.job, &self.job.model.generator);
        let state = job.state();
        let mut replies = vec![];
        for (number, image) in images.iter().enumerate() {
            let request = &job.request.images[number];
            let w = generator.effective_w(request.w);
            let parameters = self.parameters(number);
            replies.push(ImageReply {
                data: format.base64(image, Some(&parameters))?,
                seed: request.seed,
                index: request.index,
                w,
                guidance_scale: w.map(scale_of),
                prompt: match &request.subject {
                    Subject::Prompt(prompt) => Some(prompt.clone()),
                    Subject::Class(_) | Subject::Any => None,
                },
                class: match &request.subject {
                    Subject::Class(class) => generator.classes().get(*class as usize).cloned(),
                    Subject::Prompt(_) | Subject::Any => None,
                },
                parameters,
            });
        }
        let shape = images.first().map(|image| image.shape);
        Ok(GenerateReply {
            model: job.model.name.clone(),
            steps: job.request.steps,
            sampler: job.request.sampler.name(),
            width: shape.map_or(0, |shape| shape.width),
            height: shape.map_or(0, |shape| shape.height),
            format: format.name(),
            seconds: job.submitted.elapsed().as_secs_f64(),
            batch: state.largest_batch,
            warnings: self.notes.to_vec(),
            images: replies,
        })
    }
}
