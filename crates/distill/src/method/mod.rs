//! The methods. Each is an [`Objective`]: from a batch and its random draws to a loss. Methods know nothing
//! about optimisers, files or devices.

mod boundary;
mod codi;
mod consistency;
mod denoising;
mod distance;
mod guidance;
mod pairs;
mod progressive;
mod weighting;

pub use boundary::Boundary;
pub use codi::{Codi, Consistent, OdeModel, OdeNoise, OdeStep};
pub use consistency::{Consistency, Solver};
pub use denoising::Denoising;
pub use distance::{Distance, DistanceConfig, ErrorWeight};
pub use guidance::Guided;
pub use pairs::{TimePairs, Times};
pub use progressive::{Halving, Progressive};
pub use weighting::Weighting;

use burn::tensor::Tensor;
use fewstep_diffusion::random::{self, Purpose};
use fewstep_diffusion::{Denoiser, Guidance, Inputs, NoiseLevel, Schedule, per_sample};
use serde::{Deserialize, Serialize};

/// Training examples on the device.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Images in [-1, 1], or latents, `[batch, channels, height, width]`.
    pub images: Tensor<4>,
    /// What the network is given with each: class, caption, control image; no w.
    pub inputs: Inputs,
    /// Samples that the run had seen before the first of these: with the seed, all that random draws depend on.
    pub clock: u64,
    /// The same of the first batch of the update: what the micro-batches of one update share.
    pub update: u64,
}

impl Batch {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.images.dims()[0]
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The batch in parts of at most so many images.
    pub(crate) fn split(&self, most: usize) -> impl Iterator<Item = Batch> {
        (0..self.len()).step_by(most).map(move |start| {
            let count = most.min(self.len() - start);
            Batch {
                images: self.images.clone().narrow(0, start, count),
                inputs: self.inputs.narrow(start, count),
                clock: self.clock + start as u64,
                update: self.update,
            }
        })
    }
}

/// What a method says about a batch.
pub struct Loss {
    /// Weighted loss of each sample, `[batch]`, with its graph.
    pub per_sample: Tensor<1>,
    /// Time of each sample, for the log.
    pub times: Vec<f64>,
}

/// The model in training, as a method sees it.
#[derive(Clone, Copy)]
pub struct Student<'a> {
    /// θ: with its graph.
    pub online: &'a dyn Denoiser,
    /// θ⁻: its moving average, or the model as it is where there is none. Without graph.
    pub target: &'a dyn Denoiser,
}

/// A method of training or distillation.
pub trait Objective: Sync {
    /// The loss of the student on a batch. All randomness comes from the seed and the batch's clock.
    fn loss(&self, student: Student<'_>, batch: &Batch, seed: u64) -> Loss;

    /// Forward passes of a network that one sample costs without gradient, and with.
    fn cost(&self) -> Cost;
}

/// Network evaluations of one training sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// Forward passes without gradient (teachers).
    pub frozen: usize,
    /// Forward passes with a backward pass (the student).
    pub trained: usize,
}

/// Which guidance weights a student is trained for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum GuidanceWeights {
    /// w is an input of the student, drawn uniformly from `[min, max]` per sample.
    Range([f64; 2]),
    /// One w for all: the single-w ablation, no input.
    Single(f64),
}

impl GuidanceWeights {
    /// How a model that was distilled for these weights takes w.
    pub fn guidance(&self) -> Guidance {
        match *self {
            GuidanceWeights::Single(w) => Guidance::Fixed { w },
            GuidanceWeights::Range([w_min, w_max]) => Guidance::Input {
                w_min,
                w_max,
                default: w_min.max(1.0f64.min(w_max)),
            },
        }
    }

    /// The weight of each sample of a batch.
    fn draw(&self, draws: Draws) -> Vec<f64> {
        match *self {
            GuidanceWeights::Range([min, max]) => draws
                .uniform(Purpose::GuidanceWeight)
                .map(|u| min + (max - min) * u)
                .collect(),
            GuidanceWeights::Single(w) => vec![w; draws.batch],
        }
    }
}

/// The random draws of a batch.
#[derive(Clone, Copy, Debug)]
struct Draws {
    seed: u64,
    clock: u64,
    update: u64,
    batch: usize,
}

impl Draws {
    fn new(seed: u64, batch: &Batch) -> Self {
        Self {
            seed,
            clock: batch.clock,
            update: batch.update,
            batch: batch.len(),
        }
    }

    /// The draws of a batch whose samples all draw as the first of the update does.
    fn uniform_of_update(self, purpose: Purpose) -> impl Iterator<Item = f64> {
        std::iter::repeat_n(random::uniform(self.seed, self.update, purpose), self.batch)
    }

    fn samples(self) -> impl Iterator<Item = u64> {
        self.clock..self.clock + self.batch as u64
    }

    fn uniform(self, purpose: Purpose) -> impl Iterator<Item = f64> {
        self.samples()
            .map(move |sample| random::uniform(self.seed, sample, purpose))
    }

    /// A number in `0..count` per sample.
    fn index(self, count: usize) -> impl Iterator<Item = usize> {
        self.uniform(Purpose::TrainingTime)
            .map(move |u| ((u * count as f64) as usize).min(count - 1))
    }

    /// Times for a method that is free to take any: uniform in [0, 1), or uniform over the timesteps of a
    /// discrete schedule.
    fn times(self, schedule: &Schedule) -> Vec<f64> {
        match schedule.train_steps() {
            None => self.uniform(Purpose::TrainingTime).collect(),
            Some(steps) => self
                .index(steps)
                .map(|k| (k + 1) as f64 / steps as f64)
                .collect(),
        }
    }

    fn noise(self, like: &Tensor<4>) -> Tensor<4> {
        let [_, channels, height, width] = like.dims();
        let samples: Vec<u64> = self.samples().collect();
        let shape = [channels, height, width];
        random::normal(
            self.seed,
            &samples,
            Purpose::TrainingNoise,
            shape,
            &like.device(),
        )
    }
}

/// z_t = α_t x + σ_t ε.
fn diffuse(x: Tensor<4>, noise: Tensor<4>, levels: &[NoiseLevel]) -> Tensor<4> {
    let device = x.device();
    let alpha = per_sample(levels.iter().map(|l| l.alpha()), &device);
    let sigma = per_sample(levels.iter().map(|l| l.sigma()), &device);
    x * alpha + noise * sigma
}

/// Mean over each image of ω (v̂ − v)², where ω is the weight in terms of v.
fn velocity_loss(
    predicted: Tensor<4>,
    target: Tensor<4>,
    weighting: Weighting,
    levels: &[NoiseLevel],
) -> Tensor<1> {
    let weights = per_sample(
        levels.iter().map(|&level| weighting.of_velocity(level)),
        &target.device(),
    );
    let [batch, channels, height, width] = target.dims();
    let pixels = channels * height * width;
    let error = (predicted - target).square().reshape([batch, pixels]);
    (error.mean_dim(1) * weights.reshape([batch, 1])).squeeze_dim(1)
}
