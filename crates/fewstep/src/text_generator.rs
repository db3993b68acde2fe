//! Draws pictures from texts, and changes pictures by texts, with a latent diffusion model.

mod canvas;
mod texts;

pub use canvas::Canvas;
pub use texts::Texts;

use crate::{DrawError, Generator, Request, Sampler, from_pictures, to_pictures};
use burn::tensor::{Device, Tensor};
use fewstep_data::ImageShape;
use fewstep_data::picture::Picture;
use fewstep_diffusion::random::{self, Purpose};
use fewstep_diffusion::sampler::{self, Observer, SamplerKind, StepNoise};
use fewstep_diffusion::{Conditioning, Guidance, Text, TimeGrid, Warning, per_sample};
use fewstep_formats::Model;
use fewstep_nn::{Codec, Tiles};

/// A latent diffusion model ready to draw.
pub struct TextGenerator {
    generator: Generator,
    codec: Codec,
    device: Device,
}

/// What to draw.
#[derive(Clone, Debug)]
pub struct TextRequest {
    /// The text of each picture.
    pub prompts: Vec<String>,
    /// What the pictures shall not show; where it is empty, guidance leads away from pictures without text.
    pub negative: String,
    /// Height and width of the pictures.
    pub size: [usize; 2],
    /// Index of the first picture: picture i of a seed is the same in every request for its prompt.
    pub first: u64,
    /// All randomness.
    pub seed: u64,
    /// Steps.
    pub steps: usize,
    /// How to sample.
    pub sampler: Sampler,
    /// Guidance weight; the recipe's default when not given.
    pub w: Option<f64>,
    /// Pictures per network call.
    pub batch: usize,
    /// What the pictures start from.
    pub canvas: Canvas,
    /// The condition image of each picture, `[prompts, channels, height, width]`, for models that draw from such.
    pub hints: Option<Tensor<4>>,
}

impl TextGenerator {
    /// Takes a model and the autoencoder of its latents for drawing.
    ///
    /// # Errors
    /// When its schedule makes no sense.
    pub fn new(model: Model, codec: Codec, device: &Device) -> Result<Self, DrawError> {
        Ok(Self {
            generator: Generator::new(model, device)?,
            codec,
            device: device.clone(),
        })
    }

    /// The generator of latents.
    pub fn generator(&self) -> &Generator {
        &self.generator
    }

    /// Channels of the pictures.
    pub fn channels(&self) -> usize {
        self.codec.channels()
    }

    /// Height and width of the pictures that the model was trained on.
    pub fn usual_size(&self) -> [usize; 2] {
        let [_, height, width] = self.generator.model().recipe.resolution;
        [height, width].map(|side| side * self.codec.factor())
    }

    /// Height and width of the pictures that the model draws from condition images `[channels, height, width]`.
    ///
    /// # Errors
    /// When it takes none of this shape.
    pub fn size_for(&self, hint: [usize; 3]) -> Result<[usize; 2], DrawError> {
        let ImageShape { height, width, .. } = self.generator.shape_for(hint)?;
        Ok([height, width].map(|side| side * self.codec.factor()))
    }

    /// Checks a request against the recipe.
    ///
    /// # Errors
    /// When they contradict each other; what is merely untrained comes back as warnings.
    pub fn check(&self, request: &TextRequest) -> Result<Vec<Warning>, DrawError> {
        let [height, width] = request.size;
        let model = self.generator.model();
        let network = model.network.config();
        let multiple = self.codec.factor() << (network.widths.len() - 1);
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
        request.canvas.check(network.beside, request.size)?;
        match (&request.hints, model.recipe.hint) {
            (None, Some(hint)) => {
                let verb = hint.task.verb();
                return Err(DrawError::NeedsHint { verb });
            }
            (Some(hints), _) => {
                let [_, given @ ..] = hints.dims();
                if self.size_for(given)? != request.size {
                    let reason = format!(
                        "the picture is to have {height}x{width} pixels, and its size follows from that of the condition image"
                    );
                    return Err(DrawError::Hint { given, reason });
                }
            }
            (None, None) => {}
        }
        if matches!(request.canvas, Canvas::Edit { .. }) && request.sampler == Sampler::Stochastic {
            return Err(DrawError::EditStochastic);
        }
        self.generator.check(&self.of_latents(request, 0))
    }

    /// Draws all pictures of a request, whose texts were read; `progress` hears after each step how many pictures' worth
    /// of work is done.
    ///
    /// # Errors
    /// When the request contradicts the model's recipe.
    pub fn draw(
        &self,
        request: &TextRequest,
        texts: &Texts,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<Picture>, DrawError> {
        self.check(request)?;
        let total = request.prompts.len();
        let batch = request.batch.max(1);
        let mut pictures = Vec::with_capacity(total);
        for start in (0..total).step_by(batch) {
            let part = start..total.min(start + batch);
            let samples: Vec<u64> = part.clone().map(|i| request.first + i as u64).collect();
            let hints = request.hints.clone();
            let hints = hints.map(|hints| hints.narrow(0, start, samples.len()));
            let text = texts.of(part, &self.device);
            let latents = self.latents(request, text, hints, &samples, &mut |step| {
                progress(start + samples.len() * (step.index + 1) / step.total);
            })?;
            let drawn = self.codec.decode(latents, Some(Tiles::default()));
            pictures.extend(to_pictures(drawn));
        }
        Ok(pictures)
    }

    fn latents(
        &self,
        request: &TextRequest,
        text: Text,
        hint: Option<Tensor<4>>,
        samples: &[u64],
        observer: Observer<'_>,
    ) -> Result<Tensor<4>, DrawError> {
        let [height, width] = request.size.map(|side| side / self.codec.factor());
        let shape = [self.codec.latent_channels(), height, width];
        let noise = random::normal(
            request.seed,
            samples,
            Purpose::InitialNoise,
            shape,
            &self.device,
        );
        let count = samples.len();
        let of_latents = self.of_latents(request, count);
        let conditioning = Conditioning {
            text: Some(text),
            hint,
            beside: request.canvas.beside(&self.codec, count, &self.device),
            ..self.generator.conditioning(&of_latents.classes, request.w)
        };
        let Canvas::Edit { picture, strength } = &request.canvas else {
            let generator = &self.generator;
            return generator.walk(noise, &conditioning, &of_latents, samples, observer);
        };
        // SDEdit (2108.01073): the picture with the noise of time t₀, and the way from there in as many steps.
        let known = from_pictures(std::slice::from_ref(picture), &self.device);
        let known = self.codec.encode(known);
        let level = self.generator.denoiser().schedule().at(*strength);
        let level = |part: fn(fewstep_diffusion::NoiseLevel) -> f64| {
            per_sample(vec![part(level); count], &self.device)
        };
        let z = known * level(|l| l.alpha()) + noise * level(|l| l.sigma());
        let kind = match request.sampler {
            Sampler::Teacher(kind, _) => kind,
            Sampler::Deterministic | Sampler::Stochastic | Sampler::Renoising => SamplerKind::Ddim,
        };
        let grid = TimeGrid::uniform_from(*strength, request.steps);
        let fresh = StepNoise::new(request.seed, samples.to_vec());
        let denoiser = self.generator.denoiser();
        Ok(sampler::draw(
            kind,
            denoiser,
            z,
            &conditioning,
            &grid,
            &fresh,
            observer,
        ))
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
