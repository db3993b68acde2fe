//! Requests to a generator.

use crate::{ControlImage, Init};
use fewstep_diffusion::SamplerConfig;
use std::sync::Arc;

/// Images to generate together. Each has its own subject, guidance weight, seed and starting point;
/// they share the sampler and the number of steps, so that images of one size go through the
/// network in one call. [`Generator::request`](crate::Generator::request) makes one.
#[derive(Clone, Debug)]
pub struct Request {
    /// One entry for each image.
    pub images: Vec<ImageRequest>,
    /// The negative prompt: what the images must not show.
    pub negative: String,
    /// Height and width; by default those of the control images, or those that the model was
    /// trained on.
    pub size: Option<[usize; 2]>,
    /// How to sample: with which sampler, on which times.
    pub sampler: SamplerConfig,
    /// Steps of the sampler.
    pub steps: usize,
    /// Images per network call, at most.
    pub batch: usize,
}

/// One image of a [`Request`].
#[derive(Clone, Debug)]
pub struct ImageRequest {
    /// What it shows.
    pub subject: Subject,
    /// Guidance weight w; by default the model's own.
    pub w: Option<f64>,
    /// How many of the last layers of CLIP text encoders are skipped, as diffusers counts them; by
    /// default what the model says.
    pub clip_skip: Option<usize>,
    /// With `index`, determines all randomness of the image.
    pub seed: u64,
    /// Number of the image; image i of a seed is the same in every request.
    pub index: u64,
    /// What it starts from.
    pub init: Init,
    /// The control image, for models that generate from one.
    pub control: Option<Arc<ControlImage>>,
}

/// What an image shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Subject {
    /// Anything: no class, or the empty prompt.
    #[default]
    Any,
    /// A class, by its number.
    Class(u32),
    /// A prompt.
    Prompt(String),
}

impl ImageRequest {
    /// Image `index` of a seed: without class or prompt, from noise, with the model's default
    /// guidance.
    pub fn new(seed: u64, index: u64) -> Self {
        Self {
            subject: Subject::Any,
            w: None,
            clip_skip: None,
            seed,
            index,
            init: Init::Noise,
            control: None,
        }
    }
}

impl From<Option<u32>> for Subject {
    fn from(class: Option<u32>) -> Self {
        class.map_or(Subject::Any, Subject::Class)
    }
}
