//! Samplers: free functions from noise to images, all with the same head.
//!
//! Each takes a denoiser, the noise (or image) to start from, the inputs of the network, a
//! [`TimeGrid`](crate::TimeGrid) and an observer that sees every step and can stop the sampler; stochastic ones also
//! take a [`StepNoise`]. [`sample`] runs the one that a [`Sampler`] names.

mod ancestral;
mod choice;
mod config;
mod ddim;
mod dpm_solver;
mod heun;
mod interval;
mod n_step;
mod unipc;

pub use ancestral::{ancestral, ddim_eta};
pub use choice::{Sampler, SamplerError, sample};
pub use config::SamplerConfig;
pub use ddim::{ddim, encode};
pub use dpm_solver::dpm_solver_pp_2m;
pub use heun::{Churn, heun, heun_churn};
pub use n_step::{deterministic, multistep_consistency, stochastic};
pub use unipc::{UniPcBasis, unipc};

use crate::Prediction;
use crate::random::{self, Purpose};
use burn::tensor::Tensor;
use std::ops::ControlFlow;

/// One step of a sampler, as its observer sees it.
pub struct Step<'a> {
    /// Number of this step, from 0.
    pub index: usize,
    /// Number of steps.
    pub total: usize,
    /// Time of the network call.
    pub t: f64,
    /// What the network predicted.
    pub prediction: &'a Prediction,
}

/// Sees every step as soon as the network has answered: previews, traces, progress. When it breaks, the sampler stops
/// there, without another network call.
pub type Observer<'a> = &'a mut dyn FnMut(Step<'_>) -> ControlFlow<()>;

/// The observer stopped the sampler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("sampling was cancelled")]
pub struct Cancelled;

/// An observer that does nothing.
pub fn ignore(_: Step<'_>) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Shows a step to the observer.
fn observe(observer: Observer<'_>, step: Step<'_>) -> Result<(), Cancelled> {
    match observer(step) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Cancelled),
    }
}

/// Fresh noise for the steps of a stochastic sampler: a pure function of (seed, sample, step).
#[derive(Clone, Debug)]
pub struct StepNoise {
    keys: Vec<(u64, u64)>,
}

impl StepNoise {
    /// Noise for the samples of a seed with these indices, one per image of the batch.
    pub fn new(seed: u64, samples: Vec<u64>) -> Self {
        Self::of(samples.into_iter().map(|sample| (seed, sample)).collect())
    }

    /// Noise for samples that each have a seed and an index of their own.
    pub fn of(keys: Vec<(u64, u64)>) -> Self {
        Self { keys }
    }

    /// Standard normal noise of the shape of `like` for one step.
    pub fn draw(&self, step: usize, like: &Tensor<4>) -> Tensor<4> {
        let [_, channels, height, width] = like.dims();
        let purpose = Purpose::SamplerStep(step as u32);
        let shape = [channels, height, width];
        random::normal_of(&self.keys, purpose, shape, &like.device())
    }
}
