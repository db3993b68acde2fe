//! Samplers: free functions from noise to images, all with the same head.
//!
//! Each takes a denoiser, the noise (or image) to start from, the conditioning, a [`TimeGrid`](crate::TimeGrid)
//! and an observer that sees every step; stochastic ones take a [`StepNoise`] too. [`draw`] picks one by name.

mod ancestral;
mod ddim;
mod dpm_solver;
mod heun;
mod interval;
mod kind;
mod n_step;
mod unipc;

pub use ancestral::{ancestral, ddim_eta};
pub use ddim::{ddim, encode};
pub use dpm_solver::dpm_solver_pp_2m;
pub use heun::{Churn, heun, heun_churn};
pub use kind::{SamplerKind, UnknownSampler, draw, network_calls};
pub use n_step::{deterministic, multistep_consistency, stochastic};
pub use unipc::{UniPcBasis, unipc};

use crate::Prediction;
use crate::random::{self, Purpose};
use burn::tensor::Tensor;

/// One step of a sampler, as its observer sees it.
pub struct Step<'a> {
    /// Number of this step, from 0.
    pub index: usize,
    /// Steps in all.
    pub total: usize,
    /// Time of the network call.
    pub t: f64,
    /// What the network said.
    pub prediction: &'a Prediction,
}

/// Sees every step: previews, traces, progress.
pub type Observer<'a> = &'a mut dyn FnMut(Step<'_>);

/// An observer that does nothing.
pub fn ignore(_: Step<'_>) {}

/// Fresh noise for the steps of a stochastic sampler: a pure function of (seed, sample, step).
#[derive(Clone, Debug)]
pub struct StepNoise {
    seed: u64,
    samples: Vec<u64>,
}

impl StepNoise {
    /// Noise for the samples with these indices, one per image of the batch.
    pub fn new(seed: u64, samples: Vec<u64>) -> Self {
        Self { seed, samples }
    }

    /// Standard normal noise of the shape of `like` for one step.
    pub fn draw(&self, step: usize, like: &Tensor<4>) -> Tensor<4> {
        let [_, channels, height, width] = like.dims();
        let purpose = Purpose::SamplerStep(step as u32);
        let shape = [channels, height, width];
        random::normal(self.seed, &self.samples, purpose, shape, &like.device())
    }
}
