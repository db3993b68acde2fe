//! Draws images from texts, and changes images by texts, with a latent diffusion model.

mod canvas;
mod texts;

pub use canvas::Canvas;
pub use texts::Texts;

use crate::{DrawError, Generator, Request, from_images, to_images};
use burn::tensor::{Device, Tensor};
use fewstep_data::ImageShape;
use fewstep_data::image::Image;
use fewstep_diffusion::random::{self, Purpose};
use fewstep_diffusion::sampler::{self, Observer, StepNoise};
use fewstep_diffusion::{
    Guidance, Inputs, PromptEmbeds, Sampler, SamplerConfig, TimeGrid, Warning, per_sample,
};
use fewstep_formats::Model;
use fewstep_nn::{Tiles, Vae};
use std::ops::ControlFlow;

/// A latent diffusion model ready to draw.
pub struct TextGenerator {
    generator: Generator,
    vae: Vae,
    device: Device,
}

/// What to draw.
#[derive(Clone, Debug)]
pub struct TextRequest {
    /// The text of each image.
    pub prompts: Vec<String>,
    /// What the images shall not show; where it is empty, guidance leads away from images without text.
    pub negative: String,
    /// Height and width of the images.
    pub size: [usize; 2],
    /// Index of the first image: image i of a seed is the same in every request for its prompt.
    pub first: u64,
    /// All randomness.
    pub seed: u64,
    /// Steps.
    pub steps: usize,
    /// How to sample.
    pub sampler: SamplerConfig,
    /// Guidance weight; the recipe's default when not given.
    pub w: Option<f64>,
    /// Images per network call.
    pub batch: usize,
    /// What the images start from.
    pub canvas: Canvas,
    /// The control image of each image, `[prompts, channels, height, width]`, for models that draw from such.
    pub controls: Option<Tensor<4>>,
}

impl TextGenerator {
    /// Takes a model and the autoencoder of its latents for drawing.
    ///
    /// # Errors
    /// When its schedule makes no sense.
    pub fn new(model: Model, vae: Vae, device: &Device) -> Result<Self, DrawError> {
        Ok(Self {
            generator: Generator::new(model, device)?,
            vae,
            device: device.clone(),
        })
    }

    /// The generator of latents.
    pub fn generator(&self) -> &Generator {
        &self.generator
    }

    /// Channels of the images.
    pub fn channels(&self) -> usize {
        self.vae.channels()
    }

    /// Height and width of the images that the model was trained on.
    pub fn usual_size(&self) -> [usize; 2] {
        let [_, height, width] = self.generator.model().recipe.resolution;
        [height, width].map(|side| side * self.vae.factor())
    }

    /// Height and width of the images that the model draws from control images `[channels, height, width]`.
    ///
    /// # Errors
    /// When it takes none of this shape.
    pub fn size_for(&self, control: [usize; 3]) -> Result<[usize; 2], DrawError> {
        let ImageShape { height, width, .. } = self.generator.shape_for(control)?;
        Ok([height, width].map(|side| side * self.vae.factor()))
    }

    /// Checks a request against the recipe.
    ///
    /// # Errors
    /// When they contradict each other; what is merely untrained comes back as warnings.
    pub fn check(&self, request: &TextRequest) -> Result<Vec<Warning>, DrawError> {
        let [height, width] = request.size;
        let model = self.generator.model();
        let network = model.network.config();
        let multiple = self.vae.factor() * network.size_multiple();
        if [height, width]
            .iter()
            .any(|side| side % multiple != 0 || *side == 0)
        {
            return Err(DrawError::Size {
                size: request.size,
                multiple,
            });
        }
        // A student has learnt what no prompt is to it from its teacher's empty text.
        let branches = model.recipe.guidance == Guidance::ClassifierFree;
        if !request.negative.is_empty() && !branches {
            return Err(DrawError::NoNegative);
        }
        request
            .canvas
            .check(network.concat_channels(), request.size)?;
        match (&request.controls, model.recipe.control) {
            (None, Some(control)) => {
                let verb = control.task.verb();
                return Err(DrawError::NeedsControl { verb });
            }
            (Some(controls), _) => {
                let [_, given @ ..] = controls.dims();
                if self.size_for(given)? != request.size {
                    let reason = format!(
                        "the image is to have {height}x{width} pixels, and its size follows from that of the control image"
                    );
                    return Err(DrawError::ControlSpec { given, reason });
                }
            }
            (None, None) => {}
        }
        if matches!(request.canvas, Canvas::Edit { .. })
            && request.sampler.sampler == Sampler::Stochastic
        {
            return Err(DrawError::EditStochastic);
        }
        self.generator.check(&self.of_latents(request, 0))
    }

    /// Draws all images of a request, whose texts were read; `progress` hears after each step how many images' worth
    /// of work is done.
    ///
    /// # Errors
    /// When the request contradicts the model's recipe.
    pub fn draw(
        &self,
        request: &TextRequest,
        texts: &Texts,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<Image>, DrawError> {
        self.check(request)?;
        let total = request.prompts.len();
        let batch = request.batch.max(1);
        let mut images = Vec::with_capacity(total);
        for start in (0..total).step_by(batch) {
            let part = start..total.min(start + batch);
            let samples: Vec<u64> = part.clone().map(|i| request.first + i as u64).collect();
            let controls = request.controls.clone();
            let controls = controls.map(|controls| controls.narrow(0, start, samples.len()));
            let text = texts.of(part, &self.device);
            let latents = self.latents(request, text, controls, &samples, &mut |step| {
                progress(start + samples.len() * (step.index + 1) / step.total);
                ControlFlow::Continue(())
            })?;
            let drawn = self.vae.decode(latents, Some(Tiles::default()));
            images.extend(to_images(drawn));
        }
        Ok(images)
    }

    fn latents(
        &self,
        request: &TextRequest,
        text: PromptEmbeds,
        control: Option<Tensor<4>>,
        samples: &[u64],
        observer: Observer<'_>,
    ) -> Result<Tensor<4>, DrawError> {
        let [height, width] = request.size.map(|side| side / self.vae.factor());
        let shape = [self.vae.latent_channels(), height, width];
        let noise = random::normal(
            request.seed,
            samples,
            Purpose::InitialNoise,
            shape,
            &self.device,
        );
        let count = samples.len();
        let of_latents = self.of_latents(request, count);
        let inputs = Inputs {
            prompt: Some(text),
            control,
            concat: request.canvas.concat(&self.vae, count, &self.device),
            ..self.generator.inputs(&of_latents.classes, request.w)
        };
        let Canvas::Edit { image, strength } = &request.canvas else {
            let generator = &self.generator;
            return generator.walk(noise, &inputs, &of_latents, samples, observer);
        };
        // SDEdit (2108.01073): the image with the noise of time t₀, and the way from there in as many steps.
        let known = from_images(std::slice::from_ref(image), &self.device);
        let known = self.vae.encode(known);
        let level = self.generator.denoiser().schedule().at(*strength);
        let level = |part: fn(fewstep_diffusion::NoiseLevel) -> f64| {
            per_sample(vec![part(level); count], &self.device)
        };
        let z = known * level(|l| l.alpha()) + noise * level(|l| l.sigma());
        let sampler = match request.sampler.sampler {
            sampler if sampler.is_few_step() => Sampler::DDIM,
            sampler => sampler,
        };
        let grid = TimeGrid::uniform_from(*strength, request.steps);
        let fresh = StepNoise::new(request.seed, samples.to_vec());
        let denoiser = self.generator.denoiser();
        Ok(sampler::sample(
            sampler, denoiser, z, &inputs, &grid, &fresh, observer,
        )?)
    }

    /// The request as the generator of latents understands it.
    fn of_latents(&self, request: &TextRequest, count: usize) -> Request {
        Request {
            classes: vec![None; count],
            first: request.first,
            seed: request.seed,
            steps: request.steps,
            sampler: request.sampler,
            w: request.w,
            batch: request.batch,
        }
    }
}
