//! Draws images with a model, as its sampler recipe says.

mod images;
mod request;

pub use images::{from_images, to_images};
pub use request::{DrawError, Request};

use burn::tensor::{Device, Tensor};
use fewstep_data::{ImageShape, image::Image};
use fewstep_diffusion::random::{self, Purpose};
use fewstep_diffusion::sampler::{self, Observer, StepNoise};
use fewstep_diffusion::{
    CfgDenoiser, Clipped, Denoiser, DistilledFor, Guidance, Inputs, Role, Sampler, SamplerConfig,
    Spacing, TimeGrid, Warning,
};
use fewstep_formats::Model;
use fewstep_kernels::device::Placement;
use std::ops::ControlFlow;
use std::sync::Mutex;

/// A model ready to draw.
pub struct Generator {
    denoiser: Box<dyn Denoiser + Send>,
    model: Model,
    device: Device,
}

impl Generator {
    /// Takes a model for drawing.
    ///
    /// # Errors
    /// When its schedule makes no sense.
    pub fn new(model: Model, device: &Device) -> Result<Self, DrawError> {
        let guided = guided(&model)?;
        let denoiser: Box<dyn Denoiser + Send> = match model.recipe.clip {
            true => Box::new(Clipped::to_images(guided)),
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

    /// Shape of the images.
    pub fn shape(&self) -> ImageShape {
        let [channels, height, width] = self.model.recipe.resolution;
        ImageShape {
            channels,
            height,
            width,
        }
    }

    /// The sampler that the model was made for: DDIM for a teacher.
    pub fn default_sampler(&self) -> SamplerConfig {
        match self.model.recipe.role {
            Role::Student {
                sampler: DistilledFor::Stochastic,
                ..
            } => Sampler::Stochastic.into(),
            Role::Student { .. } => Sampler::Deterministic.into(),
            Role::Teacher => {
                let default = self.model.recipe.default_sampler;
                default.unwrap_or(Sampler::DDIM.into())
            }
        }
    }

    /// Steps when the user gives none: those that a student was made for.
    pub fn default_steps(&self) -> usize {
        match self.model.recipe.role {
            Role::Student {
                steps: Some(steps), ..
            } => steps,
            Role::Student {
                sampler: DistilledFor::Consistency,
                ..
            } => 4,
            Role::Student { .. } | Role::Teacher => 32,
        }
    }

    /// Network calls that one image costs with this guidance weight, by default the recipe's.
    pub fn network_calls(&self, sampler: SamplerConfig, steps: usize, w: Option<f64>) -> usize {
        let per_sample = sampler.sampler.network_calls(steps);
        // Without guidance the second of its branches is not asked.
        let recipe = &self.model.recipe;
        let alone = recipe.guidance == Guidance::ClassifierFree
            && w.unwrap_or_else(|| recipe.default_w()) == 0.0;
        match alone {
            true => per_sample,
            false => per_sample * self.denoiser.network_calls(),
        }
    }

    /// Checks a request against the recipe.
    ///
    /// # Errors
    /// When they contradict each other; what is merely untrained comes back as warnings.
    pub fn check(&self, request: &Request) -> Result<Vec<Warning>, DrawError> {
        for class in request.classes.iter().flatten() {
            self.model.recipe.check_class(*class)?;
        }
        let null_class = self.model.network.config().has_null_class();
        if request.classes.contains(&None) && !self.model.recipe.classes.is_empty() && !null_class {
            return Err(DrawError::NoNullClass);
        }
        request
            .sampler
            .grid(self.denoiser.schedule(), request.steps)?;
        let recipe = &self.model.recipe;
        self.check_sampler(request.sampler)?;
        Ok(recipe.check(request.sampler.suits(), request.steps, request.w)?)
    }

    /// Students of stage two know one grid: only DDIM on the papers' grid is their sampler under another name.
    fn check_sampler(&self, asked: SamplerConfig) -> Result<(), DrawError> {
        let Role::Student { sampler, .. } = self.model.recipe.role else {
            return Ok(());
        };
        let trained = match sampler {
            DistilledFor::Deterministic | DistilledFor::Consistency => Sampler::Deterministic,
            DistilledFor::Stochastic => Sampler::Stochastic,
            DistilledFor::Any | DistilledFor::Encoder => return Ok(()),
        };
        match asked.suits() {
            DistilledFor::Any => Err(DrawError::NotForStudents {
                trained: trained.plain_name(),
                asked: asked.name(),
            }),
            _ => Ok(()),
        }
    }

    /// Draws all images of a request, several batches side by side where there are several threads; `progress` hears
    /// after each step how many images' worth of work is done.
    ///
    /// # Errors
    /// When the request contradicts the model's recipe.
    pub fn draw(
        &self,
        request: &Request,
        progress: &mut (dyn FnMut(usize) + Send),
    ) -> Result<Vec<Image>, DrawError> {
        self.check(request)?;
        if let Some(control) = self.model.recipe.control {
            let verb = control.task.verb();
            return Err(DrawError::NeedsControl { verb });
        }
        self.draw_all(None, self.shape(), request, progress)
    }

    /// Draws the images of a request from control images, one for each class of the request, in batches as
    /// [`draw`](Self::draw) does. Control images of another size than the model's give images larger or smaller by
    /// the same factor.
    ///
    /// # Shapes
    /// - `controls`: `[batch, channels, height, width]`
    ///
    /// # Errors
    /// When the request or the control images contradict the model's recipe.
    pub fn draw_from(
        &self,
        controls: &Tensor<4>,
        request: &Request,
        progress: &mut (dyn FnMut(usize) + Send),
    ) -> Result<Vec<Image>, DrawError> {
        self.check(request)?;
        let [_, given @ ..] = controls.dims();
        self.draw_all(Some(controls), self.shape_for(given)?, request, progress)
    }

    fn draw_all(
        &self,
        controls: Option<&Tensor<4>>,
        shape: ImageShape,
        request: &Request,
        progress: &mut (dyn FnMut(usize) + Send),
    ) -> Result<Vec<Image>, DrawError> {
        let size = [shape.channels, shape.height, shape.width];
        let placement = Placement::of(&self.device);
        let share = placement.share(request.classes.len());
        let batch = request.batch.min(share).max(1);
        let batches = (0..).step_by(batch).zip(request.classes.chunks(batch));
        let work = Mutex::new((0, progress));
        let drawn = placement.map(
            batches.collect(),
            |(start, classes)| -> Result<_, DrawError> {
                let samples = request.first + start as u64..;
                let samples: Vec<u64> = samples.take(classes.len()).collect();
                let purpose = Purpose::InitialNoise;
                let noise = random::normal(request.seed, &samples, purpose, size, &self.device);
                let inputs = Inputs {
                    control: controls
                        .map(|controls| controls.clone().narrow(0, start, classes.len())),
                    ..self.inputs(classes, request.w)
                };
                let drawn = self.walk(noise, &inputs, request, &samples, &mut |step| {
                    if let Ok(mut work) = work.lock() {
                        work.0 += classes.len();
                        let done = work.0 / step.total;
                        (work.1)(done);
                    }
                    ControlFlow::Continue(())
                })?;
                Ok(to_images(drawn))
            },
        );
        let drawn: Result<Vec<_>, _> = drawn.into_iter().collect();
        Ok(drawn?.concat())
    }

    /// The shape of the images drawn from control images of this shape.
    pub(crate) fn shape_for(&self, given: [usize; 3]) -> Result<ImageShape, DrawError> {
        let (model, recipe) = (&self.model, &self.model.recipe);
        let refused = |reason: String| DrawError::ControlSpec { given, reason };
        let Some(control) = recipe.control else {
            return Err(refused("the model takes no control image".into()));
        };
        let [channels, height, width] = recipe.resolution;
        let scaled = |given: usize, known: usize, side: usize| match given * side % known {
            0 => Ok(given * side / known),
            _ => Err(refused(format!(
                "the model knows {:?}, and other sizes must give whole numbers of pixels",
                control.shape
            ))),
        };
        if given[0] != control.shape[0] {
            return Err(refused(format!("the model knows {:?}", control.shape)));
        }
        let shape = ImageShape {
            channels,
            height: scaled(given[1], control.shape[1], height)?,
            width: scaled(given[2], control.shape[2], width)?,
        };
        let config = model.network.config();
        match config.validate_size(shape.height, shape.width) {
            Ok(()) => Ok(shape),
            Err(error) => Err(refused(error.to_string())),
        }
    }

    /// From noise to a batch of images (latents, for a model that works on them), `[batch, channels, height, width]`.
    /// What `inputs` says counts; of the request the steps, the sampler and the seed.
    ///
    /// # Errors
    /// When the steps cannot be spread over time.
    pub fn sample(
        &self,
        noise: Tensor<4>,
        inputs: &Inputs,
        request: &Request,
        samples: &[u64],
    ) -> Result<Tensor<4>, DrawError> {
        self.walk(noise, inputs, request, samples, &mut sampler::ignore)
    }

    pub(crate) fn walk(
        &self,
        noise: Tensor<4>,
        inputs: &Inputs,
        request: &Request,
        samples: &[u64],
        observer: Observer<'_>,
    ) -> Result<Tensor<4>, DrawError> {
        let SamplerConfig { sampler, .. } = request.sampler;
        let grid = request
            .sampler
            .grid(self.denoiser.schedule(), request.steps)?;
        let fresh = StepNoise::new(request.seed, samples.to_vec());
        let denoiser = &*self.denoiser;
        Ok(sampler::sample(
            sampler, denoiser, noise, inputs, &grid, &fresh, observer,
        )?)
    }

    /// Checks that the model can turn images into noise.
    ///
    /// # Errors
    /// When it was not made for that; what is merely untrained comes back as warnings.
    pub fn check_encoding(&self, steps: usize, w: Option<f64>) -> Result<Vec<Warning>, DrawError> {
        TimeGrid::new(self.denoiser.schedule(), Spacing::Uniform, steps)?;
        Ok(self.model.recipe.check(DistilledFor::Encoder, steps, w)?)
    }

    /// From images to the noise behind them: reversed DDIM in `steps` steps. Nothing is clipped on the way, as
    /// that would bend the path on which [`sample`](Self::sample) comes back.
    ///
    /// # Errors
    /// When the model cannot encode.
    pub fn encode(
        &self,
        images: Tensor<4>,
        inputs: &Inputs,
        steps: usize,
    ) -> Result<Tensor<4>, DrawError> {
        self.check_encoding(steps, None)?;
        let denoiser = guided(&self.model)?;
        let grid = TimeGrid::new(denoiser.schedule(), Spacing::Uniform, steps)?;
        let observer = &mut sampler::ignore;
        Ok(sampler::encode(&denoiser, images, inputs, &grid, observer)?)
    }

    /// The denoiser behind the images, clipped and guided as the recipe says.
    pub fn denoiser(&self) -> &dyn Denoiser {
        &*self.denoiser
    }

    /// Conditioning of a batch.
    pub fn inputs(&self, classes: &[Option<u32>], w: Option<f64>) -> Inputs {
        let recipe = &self.model.recipe;
        let w = w.unwrap_or_else(|| recipe.default_w());
        Inputs {
            classes: (!recipe.classes.is_empty()).then(|| classes.to_vec()),
            w: Some(vec![w; classes.len()]),
            ..Inputs::default()
        }
    }
}

/// The model with guidance as its recipe says, not clipped.
fn guided(model: &Model) -> Result<Box<dyn Denoiser + Send>, DrawError> {
    let plain = model.denoiser()?;
    Ok(match model.recipe.guidance {
        Guidance::ClassifierFree => Box::new(CfgDenoiser::new(plain)),
        _ => Box::new(plain),
    })
}
