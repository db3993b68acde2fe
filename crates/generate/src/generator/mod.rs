//! A model ready to generate.

mod batches;
mod checks;
mod facts;

use crate::init::inpaint_maps;
use crate::prompts::PromptCache;
use crate::{
    ControlImage, GenerateError, ImageRequest, Init, KeepEncoder, Request, Subject, from_images,
    to_images,
};
use batches::batches;
use burn::tensor::{Device, Tensor, TensorData};
pub(crate) use facts::default_steps;
use fewstep_data::image::Image;
use fewstep_diffusion::random::{self, Purpose};
use fewstep_diffusion::sampler::{self, Observer, Sampler, SamplerConfig, Step, StepNoise};
use fewstep_diffusion::{
    CfgDenoiser, Clipped, Denoiser, Guidance, Inputs, NoiseLevel, TimeGrid, per_sample,
};
use fewstep_formats::{Model, Pipeline, PipelineComponents};
use fewstep_kernels::device::Placement;
use fewstep_nn::{Tiles, Vae};
use std::ops::{ControlFlow, Range};
use std::sync::Mutex;

/// A model ready to generate: of pixels, or of latents with their autoencoder and text encoder.
pub struct Generator {
    denoiser: Box<dyn Denoiser + Send>,
    model: Model,
    latent: Option<LatentParts>,
    device: Device,
}

/// What a model of latents needs besides its network.
struct LatentParts {
    vae: Vae,
    prompts: PromptCache,
}

/// One step of some of the images of a request, as the observer sees it.
pub struct Progress<'a> {
    /// Which images of the request.
    pub images: Range<usize>,
    /// Their step.
    pub step: Step<'a>,
    /// Images' worth of work done so far, of `total`.
    pub done: usize,
    /// Images of the request.
    pub total: usize,
    generator: &'a Generator,
}

impl Progress<'_> {
    /// The images as the network sees them at this step. With latents this decodes them, which takes time.
    pub fn preview(&self) -> Vec<Image> {
        self.generator.decode(self.step.prediction.x())
    }
}

/// An observer that does nothing.
pub fn ignore(_: Progress<'_>) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// The denoiser of a model with guidance as its recipe says, not clipped.
pub(crate) fn guided(model: &Model) -> Result<Box<dyn Denoiser + Send>, GenerateError> {
    let plain = model.denoiser()?;
    Ok(match model.recipe.guidance {
        Guidance::ClassifierFree => Box::new(CfgDenoiser::new(plain)),
        _ => Box::new(plain),
    })
}

impl Generator {
    /// A model of pixels.
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
            latent: None,
            device: device.clone(),
        })
    }

    /// A latent diffusion model with its other parts.
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
        let prompts = PromptCache::new(text_encoder, components, keep, device);
        Ok(Self {
            latent: Some(LatentParts { vae, prompts }),
            ..Self::new(model, device)?
        })
    }

    /// Generates all images of a request. Images of one size go through the network together, at most `batch` in a
    /// call; pixel models have several batches side by side where there are several threads. `observer` sees every
    /// step of every batch and can cancel.
    ///
    /// # Errors
    /// When the request contradicts the model, and [`GenerateError::Cancelled`].
    pub fn generate(
        &self,
        request: &Request,
        observer: &mut (dyn FnMut(Progress<'_>) -> ControlFlow<()> + Send),
    ) -> Result<Vec<Image>, GenerateError> {
        self.check(request)?;
        if let Some(latent) = &self.latent {
            let prompts = request.images.iter().map(|image| self.prompt_of(image));
            latent
                .prompts
                .prepare(prompts.chain([&*request.negative]))?;
        }
        let placement = Placement::of(&self.device);
        // Latents and their decoding take the memory of all threads one batch at a time.
        let share = |images: usize| match self.latent {
            Some(_) => images,
            None => placement.share(images),
        };
        let batches = batches(self, request, share)?;
        let work = Mutex::new((0, observer));
        let total = request.images.len();
        let one = |range: Range<usize>| {
            self.batch(request, range.clone(), &mut |step| {
                // A panic of another batch ends this one too.
                let Ok(mut work) = work.lock() else {
                    return ControlFlow::Break(());
                };
                work.0 += range.len();
                let progress = Progress {
                    images: range.clone(),
                    done: work.0 / step.total,
                    total,
                    step,
                    generator: self,
                };
                (work.1)(progress)
            })
        };
        let made: Vec<Result<Vec<Image>, GenerateError>> = match self.latent {
            Some(_) => batches.into_iter().map(one).collect(),
            None => placement.map(batches, one),
        };
        let made: Result<Vec<Vec<Image>>, GenerateError> = made.into_iter().collect();
        Ok(made?.concat())
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
        let mut inputs = self.inputs(images, &request.negative)?;
        inputs.control = self.controls(images);
        if let (Some(latent), true) = (&self.latent, self.network_concat() > 0) {
            inputs.concat = inpaint_maps(&inits, &latent.vae, &self.device);
        }
        let made = match inits[0] {
            Init::Image { strength, .. } => {
                let known = self.known(&inits)?;
                let z = self.noised(known, noise, *strength);
                let grid = TimeGrid::uniform_from(*strength, request.steps);
                // The student's steps from the middle are DDIM's.
                let sampler = match request.sampler.sampler {
                    Sampler::Deterministic | Sampler::MultistepConsistency => Sampler::DDIM,
                    other => other,
                };
                self.run(sampler, z, &inputs, &grid, &keys, observer)?
            }
            Init::Noise | Init::Inpaint { .. } => {
                let (config, steps) = (request.sampler, request.steps);
                self.sample(noise, &inputs, config, steps, &keys, observer)?
            }
        };
        let made = self.decode(made).into_iter().zip(&inits);
        Ok(made.map(|(made, init)| init.put_back(made)).collect())
    }

    /// From noise to a batch of images (latents, for a model that works on them), `[batch, channels, height, width]`.
    /// `keys` are seed and index of each.
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

    /// What the network is given with these images, but for control images and what is concatenated.
    ///
    /// # Errors
    /// When the text encoder cannot be read again.
    pub(crate) fn inputs(
        &self,
        images: &[ImageRequest],
        negative: &str,
    ) -> Result<Inputs, GenerateError> {
        let recipe = &self.model.recipe;
        let w = images
            .iter()
            .map(|image| image.w.unwrap_or_else(|| recipe.default_w()));
        let class = |image: &ImageRequest| match image.subject {
            Subject::Class(class) => Some(class),
            Subject::Any | Subject::Prompt(_) => None,
        };
        let prompts: Vec<&str> = images.iter().map(|image| self.prompt_of(image)).collect();
        Ok(Inputs {
            classes: (!recipe.classes.is_empty()).then(|| images.iter().map(class).collect()),
            w: Some(w.collect()),
            prompt: match &self.latent {
                Some(latent) => Some(latent.prompts.embed(&prompts, negative)?),
                None => None,
            },
            ..Inputs::default()
        })
    }

    /// The prompt of an image; the name of its class where classes stand for prompts.
    fn prompt_of<'a>(&'a self, image: &'a ImageRequest) -> &'a str {
        match (&image.subject, &self.latent) {
            (Subject::Prompt(prompt), _) => prompt,
            (Subject::Class(class), Some(latent)) => {
                let name = latent.prompts.classes().get(*class as usize);
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

    /// The control image of an image: as given, or made from what is to be inpainted.
    fn control_of(&self, image: &ImageRequest) -> Option<std::sync::Arc<ControlImage>> {
        let made = || image.init.control().filter(|_| self.inpaints_by_control());
        image.control.clone().or_else(|| made().map(Into::into))
    }

    /// The images that a batch starts from, as the network takes them.
    fn known(&self, inits: &[&Init]) -> Result<Tensor<4>, GenerateError> {
        let mut known = vec![];
        for same in inits.chunk_by(|a, b| a == b) {
            if let Init::Image { image, .. } = same[0] {
                let encoded = self.encode_images(std::slice::from_ref(&**image));
                known.push(encoded.repeat_dim(0, same.len()));
            }
        }
        Ok(Tensor::cat(known, 0))
    }

    /// α x + σ ε at time `t`.
    fn noised(&self, x: Tensor<4>, noise: Tensor<4>, t: f64) -> Tensor<4> {
        let [batch, ..] = x.dims();
        let level = self.denoiser.schedule().at(t);
        let of = |part: fn(NoiseLevel) -> f64| per_sample(vec![part(level); batch], &self.device);
        x * of(|l| l.alpha()) + noise * of(|l| l.sigma())
    }

    /// Images as the network takes them: pixels in [-1, 1], or latents.
    pub fn encode_images(&self, images: &[Image]) -> Tensor<4> {
        let batch = from_images(images, &self.device);
        match &self.latent {
            Some(latent) => latent.vae.encode(batch),
            None => batch,
        }
    }

    /// Images out of what the network made. Big ones are decoded in tiles.
    pub fn decode(&self, made: Tensor<4>) -> Vec<Image> {
        to_images(match &self.latent {
            Some(latent) => latent.vae.decode(made, Some(Tiles::default())),
            None => made,
        })
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
