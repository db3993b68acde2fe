//! A model ready to generate.

mod batches;
mod checks;
mod control;
mod facts;
#[cfg(test)]
mod inputs_tests;
#[cfg(test)]
mod instruct_tests;
mod kept_guidance;
mod memory;
mod progress;

use crate::images::to_finite_images;
use crate::init::extra_input;
use crate::prompts::{PromptCache, Text, TextAdditions};
use crate::{
    ControlImage, GenerateError, ImageRequest, Init, KeepEncoder, Request, Subject, from_images,
    to_images,
};
use batches::batches;
use burn::tensor::{Device, Tensor, TensorData};
pub(crate) use facts::default_steps;
use fewstep_data::image::Image;
use fewstep_diffusion::random::{self, Purpose};
use fewstep_diffusion::sampler::{self, Observer, Sampler, SamplerConfig, StepNoise};
use fewstep_diffusion::{Clipped, Denoiser, Inputs, NoiseLevel, TimeGrid, TimeIds, per_sample};
use fewstep_formats::{Model, Pipeline, PipelineComponents};
use fewstep_kernels::device::Placement;
use fewstep_nn::{Tiles, Vae};
pub use kept_guidance::KeptGuidance;
pub use memory::Extent;
use progress::Work;
pub use progress::{Progress, ignore};
use std::ops::{ControlFlow, Range};
use std::sync::{Mutex, OnceLock};
use std::time::Instant;
use tracing::debug;

/// A model ready to generate: of pixels, or of latents with their autoencoder and text encoder.
pub struct Generator {
    denoiser: Box<dyn Denoiser + Send>,
    model: Model,
    weights_hash: OnceLock<String>,
    latent: Option<LatentParts>,
    device: Device,
}

/// What a latent model needs in addition to its network.
pub(crate) struct LatentParts {
    pub(crate) vae: Vae,
    pub(crate) prompts: PromptCache,
}

/// The denoiser of a model with guidance as its recipe says, not clipped.
pub(crate) fn guided(model: &Model) -> Result<Box<dyn Denoiser + Send>, GenerateError> {
    Ok(model.guided(model.denoiser()?))
}

impl Generator {
    /// A pixel model.
    ///
    /// # Errors
    /// When its schedule makes no sense.
    pub fn new(model: Model, device: &Device) -> Result<Self, GenerateError> {
        let guided = guided(&model)?;
        let denoiser: Box<dyn Denoiser + Send> = match model.recipe.clip {
            true => Box::new(Clipped::to_images(guided)),
            false => guided,
        };
        Ok(Self {
            denoiser,
            model,
            weights_hash: OnceLock::new(),
            latent: None,
            device: device.clone(),
        })
    }

    /// A latent diffusion model with its VAE and text encoder.
    ///
    /// # Errors
    /// When its schedule makes no sense.
    pub fn latent(
        pipeline: Pipeline,
        keep: KeepEncoder,
        device: &Device,
    ) -> Result<Self, GenerateError> {
        let Pipeline {
            model,
            vae,
            text_encoder,
            components,
        } = pipeline;
        let none = TextAdditions::default();
        let prompts = PromptCache::new(text_encoder, components, none, keep, device)?;
        Self::of_latents(model, LatentParts { vae, prompts }, device)
    }

    /// A U-Net with what it needs in addition, which must fit it.
    pub(crate) fn of_latents(
        model: Model,
        latent: LatentParts,
        device: &Device,
    ) -> Result<Self, GenerateError> {
        Ok(Self {
            latent: Some(latent),
            ..Self::new(model, device)?
        })
    }

    /// Generates all images of a request. Images of one size go through the network together, at
    /// most `batch` in a call; with several threads, pixel models run several batches in parallel.
    /// `observer` sees every step of every batch and can cancel.
    ///
    /// # Errors
    /// When the request contradicts the model, and [`GenerateError::Cancelled`].
    pub fn generate(
        &self,
        request: &Request,
        observer: &mut (dyn FnMut(Progress<'_>) -> ControlFlow<()> + Send),
    ) -> Result<Vec<Image>, GenerateError> {
        self.check(request)?;
        self.prepare(&request.images, &request.negative)?;
        let placement = Placement::of(&self.device);
        // Latent models use all threads for one batch at a time.
        let share = |images: usize| match self.latent {
            Some(_) => images,
            None => placement.share(images),
        };
        let batches = batches(self, request, share)?;
        let work = Mutex::new(Work {
            steps: 0,
            stopped: false,
            observer,
        });
        let one = |range: Range<usize>| {
            if work.lock().is_ok_and(|work| work.stopped) {
                return Err(GenerateError::Cancelled);
            }
            let made = self.batch(request, range.clone(), &mut |step| match work.lock() {
                Ok(mut work) => work.observe(self, request, range.clone(), step),
                // A panic of another batch ends this one too.
                Err(_) => ControlFlow::Break(()),
            });
            if let (Err(_), Ok(mut work)) = (&made, work.lock()) {
                work.stopped = true;
            }
            made
        };
        let made: Vec<Result<Vec<Image>, GenerateError>> = match self.latent {
            Some(_) => batches.into_iter().map(one).collect(),
            None => placement.map(batches, one),
        };
        // The error that stopped the others comes before their being cancelled.
        let mut images = Vec::with_capacity(request.images.len());
        let mut cancelled = None;
        for batch in made {
            match batch {
                Ok(batch) => images.extend(batch),
                Err(GenerateError::Cancelled) => cancelled = Some(GenerateError::Cancelled),
                Err(error) => return Err(error),
            }
        }
        match cancelled {
            None => Ok(images),
            Some(error) => Err(error),
        }
    }

    /// Encodes the prompts of images ahead, as [`KeepEncoder`] says.
    pub(crate) fn prepare(
        &self,
        images: &[ImageRequest],
        negative: &str,
    ) -> Result<(), GenerateError> {
        let Some(latent) = &self.latent else {
            return Ok(());
        };
        let all = images.iter().flat_map(|image| {
            let clip_skip = self.clip_skip(image);
            [self.prompt_of(image), negative].map(|text| Text { text, clip_skip })
        });
        latent.prompts.prepare(all)
    }

    /// Images that go through the network in one call.
    fn batch(
        &self,
        request: &Request,
        range: Range<usize>,
        observer: Observer<'_>,
    ) -> Result<Vec<Image>, GenerateError> {
        let images = &request.images[range];
        let inits: Vec<&Init> = images.iter().map(|image| &image.init).collect();
        let latents = self.start_shape(&images[0], request)?;
        let keys: Vec<(u64, u64)> = images.iter().map(|i| (i.seed, i.index)).collect();
        let noise = random::normal_of(&keys, Purpose::InitialNoise, latents, &self.device);
        let [_, sides @ ..] = latents;
        let inputs = self.all_inputs(images, &request.negative, sides)?;
        let start = Instant::now();
        let made = match inits[0] {
            Init::Image { strength, .. } => {
                let start = self.start_images(&inits)?;
                let z = self.noised(start, noise, *strength);
                let grid = TimeGrid::uniform_from(*strength, request.steps);
                self.run(request.sampler.sampler, z, &inputs, &grid, &keys, observer)?
            }
            Init::Noise | Init::Inpaint { .. } | Init::Instruct { .. } => {
                let (config, steps) = (request.sampler, request.steps);
                self.sample(noise, &inputs, config, steps, &keys, observer)?
            }
        };
        let sampled = start.elapsed();
        let made = self.decode_finite(made)?.into_iter().zip(&inits);
        let decoded = start.elapsed() - sampled;
        // A GPU may do steps only when their result is decoded.
        debug!(
            "{} steps took {sampled:.2?}, decoding {decoded:.2?}",
            request.steps
        );
        Ok(made.map(|(made, init)| init.put_back(made)).collect())
    }

    /// From noise to a batch of images (latents, for a model that works on them), `[batch,
    /// channels, height, width]`. `keys` are seed and index of each.
    ///
    /// # Errors
    /// When the steps cannot be spread over time, and [`GenerateError::Cancelled`].
    pub fn sample(
        &self,
        noise: Tensor<4>,
        inputs: &Inputs,
        config: SamplerConfig,
        steps: usize,
        keys: &[(u64, u64)],
        observer: Observer<'_>,
    ) -> Result<Tensor<4>, GenerateError> {
        let grid = config.grid(self.denoiser.schedule(), steps)?;
        self.run(config.sampler, noise, inputs, &grid, keys, observer)
    }

    fn run(
        &self,
        sampler: Sampler,
        noise: Tensor<4>,
        inputs: &Inputs,
        grid: &TimeGrid,
        keys: &[(u64, u64)],
        observer: Observer<'_>,
    ) -> Result<Tensor<4>, GenerateError> {
        let fresh = StepNoise::of(keys.to_vec());
        let denoiser = &*self.denoiser;
        let made = sampler::sample(sampler, denoiser, noise, inputs, grid, &fresh, observer);
        made.map_err(|_| GenerateError::Cancelled)
    }

    /// The inputs of the network for these images; `sides` are height and width of its maps.
    fn all_inputs(
        &self,
        images: &[ImageRequest],
        negative: &str,
        sides: [usize; 2],
    ) -> Result<Inputs, GenerateError> {
        let mut inputs = self.inputs(images, negative, sides)?;
        inputs.control = self.controls(images);
        if let (Some(latent), Some(_)) = (&self.latent, self.extra_input()) {
            let inits: Vec<&Init> = images.iter().map(|image| &image.init).collect();
            inputs.concat = extra_input(&inits, &latent.vae, &self.device);
            let usual = self.model.recipe.default_image_guidance();
            let scale = |init: &&Init| init.image_scale().unwrap_or(usual);
            inputs.image_scale = self
                .edits_by_instruction()
                .then(|| inits.iter().map(scale).collect());
        }
        Ok(inputs)
    }

    /// The inputs of the network for these images, except control images and concatenated channels;
    /// `sides` are height and width of the network's maps.
    ///
    /// # Errors
    /// When the text encoder cannot be read again.
    pub(crate) fn inputs(
        &self,
        images: &[ImageRequest],
        negative: &str,
        sides: [usize; 2],
    ) -> Result<Inputs, GenerateError> {
        let recipe = &self.model.recipe;
        let w = images
            .iter()
            .map(|image| image.w.unwrap_or_else(|| recipe.default_w()));
        let class = |image: &ImageRequest| match image.subject {
            Subject::Class(class) => Some(class),
            Subject::Any | Subject::Prompt(_) => None,
        };
        let prompts = images.iter().map(|image| Text {
            text: self.prompt_of(image),
            clip_skip: self.clip_skip(image),
        });
        let prompts: Vec<Text<'_>> = prompts.collect();
        Ok(Inputs {
            classes: (!recipe.classes.is_empty()).then(|| images.iter().map(class).collect()),
            w: Some(w.collect()),
            prompt: match &self.latent {
                Some(latent) => Some(latent.prompts.embed(&prompts, negative)?),
                None => None,
            },
            time_ids: self.time_ids(sides).map(|ids| vec![ids; images.len()]),
            ..Inputs::default()
        })
    }

    /// What a network that is told the size of images is told of these.
    fn time_ids(&self, [height, width]: [usize; 2]) -> Option<TimeIds> {
        self.model.network.config().pooled_width()?;
        let factor = self.factor();
        Some(TimeIds::whole([factor * height, factor * width]))
    }

    /// The prompt of an image, or the name of its class for a latent model of classes.
    fn prompt_of<'a>(&'a self, image: &'a ImageRequest) -> &'a str {
        match (&image.subject, &self.latent) {
            (Subject::Prompt(prompt), _) => prompt,
            (Subject::Class(class), Some(latent)) => {
                let name = latent.prompts.facts().classes.get(*class as usize);
                name.map_or("", String::as_str)
            }
            (Subject::Class(_), None) | (Subject::Any, _) => "",
        }
    }

    /// The control images of a batch, all of one shape.
    fn controls(&self, images: &[ImageRequest]) -> Option<Tensor<4>> {
        let controls: Option<Vec<_>> = images.iter().map(|image| self.control_of(image)).collect();
        let controls = controls?;
        let [channels, height, width] = controls.first()?.shape;
        let values: Vec<f32> = controls.iter().flat_map(|c| c.values.clone()).collect();
        let shape = [images.len(), channels, height, width];
        Some(Tensor::from_data(
            TensorData::new(values, shape),
            &self.device,
        ))
    }

    /// The control image of an image: as requested, or made from the masked image.
    fn control_of(&self, image: &ImageRequest) -> Option<std::sync::Arc<ControlImage>> {
        let made = || match self.inpaints_by_control() {
            true => image.init.control().map(Into::into),
            false => None,
        };
        image.control.clone().or_else(made)
    }

    /// Its shape.
    fn control_shape(&self, image: &ImageRequest) -> Option<[usize; 3]> {
        let made = || match self.inpaints_by_control() {
            true => image.init.control_shape(),
            false => None,
        };
        image.control.as_ref().map(|c| c.shape).or_else(made)
    }

    /// The images that a batch starts from, as pixels or latents.
    fn start_images(&self, inits: &[&Init]) -> Result<Tensor<4>, GenerateError> {
        let mut start = vec![];
        for same in inits.chunk_by(|a, b| a == b) {
            if let Init::Image { image, .. } = same[0] {
                let encoded = self.encode_images(std::slice::from_ref(&**image));
                start.push(encoded.repeat_dim(0, same.len()));
            }
        }
        Ok(Tensor::cat(start, 0))
    }

    /// α x + σ ε at time `t`.
    fn noised(&self, x: Tensor<4>, noise: Tensor<4>, t: f64) -> Tensor<4> {
        let [batch, ..] = x.dims();
        let level = self.denoiser.schedule().at(t);
        let of = |part: fn(NoiseLevel) -> f64| per_sample(vec![part(level); batch], &self.device);
        x * of(|l| l.alpha()) + noise * of(|l| l.sigma())
    }

    /// Images as the network takes them: pixels in [-1, 1], or latents.
    pub(crate) fn encode_images(&self, images: &[Image]) -> Tensor<4> {
        let batch = from_images(images, &self.device);
        match &self.latent {
            Some(latent) => latent.vae.encode(batch),
            None => batch,
        }
    }

    /// Images from the output of the network. Large ones are decoded in tiles.
    pub fn decode(&self, made: Tensor<4>) -> Vec<Image> {
        to_images(self.pixels(made))
    }

    /// The same, refused where a value is infinite or not a number.
    pub(crate) fn decode_finite(&self, made: Tensor<4>) -> Result<Vec<Image>, GenerateError> {
        to_finite_images(self.pixels(made)).ok_or(GenerateError::NotFinite)
    }

    fn pixels(&self, made: Tensor<4>) -> Tensor<4> {
        match &self.latent {
            Some(latent) => latent.vae.decode(made, Some(Tiles::default())),
            None => made,
        }
    }

    /// Where the parts of a latent diffusion model were read from.
    pub fn components(&self) -> Option<&PipelineComponents> {
        self.latent
            .as_ref()
            .map(|latent| latent.prompts.components())
    }

    /// The device it computes on.
    pub fn device(&self) -> &Device {
        &self.device
    }
}
