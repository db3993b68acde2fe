//! What watches a sampler, and can stop it.

use crate::Prediction;
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

/// Shows a step to the observer.
pub(super) fn observe(observer: Observer<'_>, step: Step<'_>) -> Result<(), Cancelled> {
    match observer(step) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Cancelled),
    }
}
