//! The N-step samplers of distilled models: the two of 2210.03142, section 3, and that of
//! consistency models.
//!
//! The papers' grid is [`TimeGrid::uniform`].

use super::noise::{StepNoise, renoise};
use super::observer::{Calls, Cancelled, Observer};
use crate::{Denoiser, Inputs, NoiseLevel, Prediction, TimeGrid};
use burn::tensor::Tensor;

/// The deterministic N-step sampler: DDIM, whose last step returns x̂ itself.
///
/// # Errors
/// When the observer stops it.
pub fn deterministic(
    denoiser: &dyn Denoiser,
    noise: Tensor<4>,
    inputs: &Inputs,
    grid: &TimeGrid,
    observer: Observer<'_>,
) -> Result<Tensor<4>, Cancelled> {
    walk(
        denoiser,
        noise,
        inputs,
        grid,
        observer,
        |prediction, next, _| {
            let batch = prediction.levels().len();
            prediction.ddim(&vec![next[0]; batch])
        },
    )
}

/// The stochastic N-step sampler: a deterministic jump of twice the step length, then noise back up
/// by one step length; the last step is deterministic and returns x̂. N network calls.
///
/// # Errors
/// When the observer stops it.
pub fn stochastic(
    denoiser: &dyn Denoiser,
    noise: Tensor<4>,
    inputs: &Inputs,
    grid: &TimeGrid,
    fresh: &StepNoise,
    observer: Observer<'_>,
) -> Result<Tensor<4>, Cancelled> {
    walk(
        denoiser,
        noise,
        inputs,
        grid,
        observer,
        |prediction, next, index| {
            let batch = prediction.levels().len();
            let jumped = prediction.ddim(&vec![next[1]; batch]);
            let noise = fresh.draw(index, &jumped);
            renoise(jumped, next[1], next[0], noise)
        },
    )
}

/// The multistep sampler of consistency models (Alg. 1 of 2303.01469): x̂, then fresh noise up to
/// the next time, z_s = α_s x̂ + σ_s n; the last step returns x̂. N network calls.
///
/// # Errors
/// When the observer stops it.
pub fn multistep_consistency(
    denoiser: &dyn Denoiser,
    noise: Tensor<4>,
    inputs: &Inputs,
    grid: &TimeGrid,
    fresh: &StepNoise,
    observer: Observer<'_>,
) -> Result<Tensor<4>, Cancelled> {
    walk(
        denoiser,
        noise,
        inputs,
        grid,
        observer,
        |prediction, next, index| {
            let x = prediction.x();
            let noise = fresh.draw(index, &x);
            renoise(x, NoiseLevel::CLEAN, next[0], noise)
        },
    )
}

/// Calls the network at all times of the grid but the last. `step` gives the next z from the
/// prediction, the two levels that follow its own and the step's number; the last step returns x̂.
fn walk(
    denoiser: &dyn Denoiser,
    noise: Tensor<4>,
    inputs: &Inputs,
    grid: &TimeGrid,
    observer: Observer<'_>,
    step: impl Fn(&Prediction, [NoiseLevel; 2], usize) -> Tensor<4>,
) -> Result<Tensor<4>, Cancelled> {
    let levels = denoiser.schedule().levels(grid.times());
    let mut calls = Calls {
        denoiser,
        inputs,
        observer,
        total: grid.steps(),
    };
    let mut z = noise;
    for (index, (t, _)) in grid.pairs().enumerate() {
        let prediction = calls.predict(index, z, t)?;
        z = match levels[index + 1..] {
            [next, after, ..] => step(&prediction, [next, after], index),
            _ => prediction.x(),
        };
    }
    Ok(z)
}
