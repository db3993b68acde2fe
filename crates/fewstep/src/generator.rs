//! Draws pictures with a model, as its sampler recipe says.

use burn::tensor::{Device, Tensor};
use fewstep_data::{ImageShape, picture::Picture};
use fewstep_diffusion::random::{self, Purpose};
use fewstep_diffusion::sampler::{self, SamplerKind, StepNoise};
use fewstep_diffusion::{
    Clipped, Conditioning, Denoiser, GridError, Guidance, Guided, RecipeError, Role, Spacing,
    StudentSampler, TimeGrid, Warning,
};
use fewstep_formats::Model;

/// A model ready to draw.
pub struct Generator {
    denoiser: Box<dyn Denoiser + Send>,
    model: Model,
    device: Device,
}

/// How to sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sampler {
    /// The deterministic N-step sampler of the papers.
    Deterministic,
    /// The stochastic N-step sampler of the papers.
    Stochastic,
    /// A sampler for teachers, on a time grid.
    Teacher(SamplerKind, Spacing),
}

/// What to draw.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Class of each picture; `None` is unconditional.
    pub classes: Vec<Option<u32>>,
    /// Index of the first picture: picture i of a seed is the same in every request.
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
}

/// A request that the model cannot fulfil.
#[derive(Debug, thiserror::Error)]
pub enum DrawError {
    /// It contradicts the model's recipe.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The steps cannot be spread over time.
    #[error(transparent)]
    Grid(#[from] GridError),
    /// The recipe's schedule makes no sense.
    #[error(transparent)]
    Schedule(#[from] fewstep_diffusion::ScheduleError),
}

impl Sampler {
    /// What a recipe is asked about this sampler.
    pub fn kind(self) -> StudentSampler {
        match self {
            Sampler::Deterministic => StudentSampler::Deterministic,
            Sampler::Stochastic => StudentSampler::Stochastic,
            // DDIM on the papers' grid is the deterministic sampler; others suit models for any sampler.
            Sampler::Teacher(SamplerKind::Ddim, Spacing::Uniform) => StudentSampler::Deterministic,
            Sampler::Teacher(..) => StudentSampler::Any,
        }
    }

    /// The name in tables and messages.
    pub fn name(self) -> &'static str {
        match self {
            Sampler::Deterministic => "deterministic",
            Sampler::Stochastic => "stochastic",
            Sampler::Teacher(kind, _) => kind.name(),
        }
    }
}

impl Generator {
    /// Takes a model for drawing.
    ///
    /// # Errors
    /// When its schedule makes no sense.
    pub fn new(model: Model, device: &Device) -> Result<Self, DrawError> {
        let plain = model.denoiser()?;
        let guided: Box<dyn Denoiser + Send> = match model.recipe.guidance {
            Guidance::ClassifierFree => Box::new(Guided::new(plain)),
            _ => Box::new(plain),
        };
        let denoiser: Box<dyn Denoiser + Send> = match model.recipe.clip {
            true => Box::new(Clipped::to_pictures(guided)),
            false => guided,
        };
        Ok(Self {
            denoiser,
            model,
            device: device.clone(),
        })
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Shape of the pictures.
    pub fn shape(&self) -> ImageShape {
        let [channels, height, width] = self.model.recipe.resolution;
        ImageShape {
            channels,
            height,
            width,
        }
    }

    /// The sampler that the model was made for: DDIM for a teacher.
    pub fn default_sampler(&self) -> Sampler {
        match self.model.recipe.role {
            Role::Student {
                sampler: StudentSampler::Stochastic,
                ..
            } => Sampler::Stochastic,
            Role::Student { .. } => Sampler::Deterministic,
            Role::Teacher => Sampler::Teacher(SamplerKind::Ddim, Spacing::Uniform),
        }
    }

    /// Network calls that one picture costs.
    pub fn network_calls(&self, sampler: Sampler, steps: usize) -> usize {
        let per_sample = match sampler {
            Sampler::Deterministic | Sampler::Stochastic => steps,
            Sampler::Teacher(kind, _) => sampler::network_calls(kind, steps),
        };
        per_sample * self.denoiser.network_calls()
    }

    /// Checks a request against the recipe.
    ///
    /// # Errors
    /// When they contradict each other; what is merely untrained comes back as warnings.
    pub fn check(&self, request: &Request) -> Result<Vec<Warning>, DrawError> {
        for class in request.classes.iter().flatten() {
            self.model.recipe.check_class(*class)?;
        }
        self.grid(request)?;
        let recipe = &self.model.recipe;
        Ok(recipe.check(request.sampler.kind(), request.steps, request.w)?)
    }

    /// Draws all pictures of a request; `progress` hears the number of pictures done after each batch.
    ///
    /// # Errors
    /// When the request contradicts the model's recipe.
    pub fn draw(
        &self,
        request: &Request,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<Picture>, DrawError> {
        self.check(request)?;
        let mut pictures = Vec::with_capacity(request.classes.len());
        for (part, classes) in request.classes.chunks(request.batch.max(1)).enumerate() {
            let first = request.first + (part * request.batch.max(1)) as u64;
            let samples: Vec<u64> = (first..first + classes.len() as u64).collect();
            let noise = random::normal(
                request.seed,
                &samples,
                Purpose::InitialNoise,
                self.model.recipe.resolution,
                &self.device,
            );
            let conditioning = self.conditioning(classes, request.w);
            let drawn = self.sample(noise, &conditioning, request, &samples)?;
            pictures.extend(to_pictures(drawn, self.shape()));
            progress(pictures.len());
        }
        Ok(pictures)
    }

    /// From noise to a batch of pictures, `[batch, channels, height, width]`.
    ///
    /// # Errors
    /// When the steps cannot be spread over time.
    pub fn sample(
        &self,
        noise: Tensor<4>,
        conditioning: &Conditioning,
        request: &Request,
        samples: &[u64],
    ) -> Result<Tensor<4>, DrawError> {
        let fresh = StepNoise::new(request.seed, samples.to_vec());
        let (denoiser, observer) = (&*self.denoiser, &mut sampler::ignore);
        Ok(match request.sampler {
            Sampler::Deterministic => {
                sampler::deterministic(denoiser, noise, conditioning, request.steps, observer)
            }
            Sampler::Stochastic => {
                sampler::stochastic(denoiser, noise, conditioning, request.steps, &fresh, observer)
            }
            Sampler::Teacher(kind, _) => {
                let grid = self.grid(request)?;
                sampler::draw(kind, denoiser, noise, conditioning, &grid, &fresh, observer)
            }
        })
    }

    /// The denoiser behind the pictures, clipped and guided as the recipe says.
    pub fn denoiser(&self) -> &dyn Denoiser {
        &*self.denoiser
    }

    /// Conditioning of a batch.
    pub fn conditioning(&self, classes: &[Option<u32>], w: Option<f64>) -> Conditioning {
        let recipe = &self.model.recipe;
        let w = w.unwrap_or_else(|| recipe.default_w());
        Conditioning {
            classes: (!recipe.classes.is_empty()).then(|| classes.to_vec()),
            w: Some(vec![w; classes.len()]),
        }
    }

    fn grid(&self, request: &Request) -> Result<TimeGrid, GridError> {
        let spacing = match request.sampler {
            Sampler::Teacher(_, spacing) => spacing,
            Sampler::Deterministic | Sampler::Stochastic => Spacing::Uniform,
        };
        TimeGrid::new(self.denoiser.schedule(), spacing, request.steps)
    }
}

/// 8-bit pictures from values in [-1, 1].
pub(crate) fn to_pictures(batch: Tensor<4>, shape: ImageShape) -> Vec<Picture> {
    let values = batch.into_data().try_to_vec::<f32>().unwrap_or_default();
    values
        .chunks_exact(shape.len())
        .map(|picture| Picture::from_f32(shape, picture))
        .collect()
}
