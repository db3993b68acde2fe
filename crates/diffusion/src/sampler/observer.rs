//! What watches a sampler, and can stop it.

use crate::{Denoiser, Inputs, Prediction};
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

/// Sees every step as soon as the network has answered: previews, traces, progress. When it breaks,
/// the sampler stops there, without another network call.
pub type Observer<'a> = &'a mut dyn FnMut(Step<'_>) -> ControlFlow<()>;

/// The observer stopped the sampler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("sampling was cancelled")]
pub struct Cancelled;

/// An observer that does nothing.
pub fn ignore(_: Step<'_>) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// The network calls of a sampler, each of them shown to its observer.
pub(super) struct Calls<'a> {
    pub(super) denoiser: &'a dyn Denoiser,
    pub(super) inputs: &'a Inputs,
    pub(super) observer: Observer<'a>,
    /// Number of steps.
    pub(super) total: usize,
}

impl Calls<'_> {
    /// What the network predicts for `z` at time t, in the step of this number.
    pub(super) fn predict(
        &mut self,
        index: usize,
        z: Tensor<4>,
        t: f64,
    ) -> Result<Prediction, Cancelled> {
        let batch = z.dims()[0];
        let prediction = self.denoiser.predict(z, &vec![t; batch], self.inputs);
        let step = Step {
            index,
            total: self.total,
            t,
            prediction: &prediction,
        };
        match (self.observer)(step) {
            ControlFlow::Continue(()) => Ok(prediction),
            ControlFlow::Break(()) => Err(Cancelled),
        }
    }
}
