//! DDIM, forwards (generation) and backwards (encoding).

use super::observer::{Calls, Cancelled, Observer};
use crate::{Denoiser, Inputs, TimeGrid};
use burn::tensor::Tensor;

/// Deterministic DDIM with η = 0 (2010.02502, Eq. 12): from noise at the grid's first time to its
/// end. Returns z at the last time, which is the image when the grid ends at 0.
///
/// # Errors
/// When the observer stops it.
pub fn ddim(
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
        grid.pairs(),
        grid.steps(),
        observer,
    )
}

/// DDIM with time running up: an image becomes the noise from which [`ddim`] on the same grid gives
/// it back (section 4.3 of 2210.03142). The network is called at the lower end of each interval.
///
/// # Errors
/// When the observer stops it.
pub fn encode(
    denoiser: &dyn Denoiser,
    image: Tensor<4>,
    inputs: &Inputs,
    grid: &TimeGrid,
    observer: Observer<'_>,
) -> Result<Tensor<4>, Cancelled> {
    let upwards = grid.pairs().rev().map(|(t, s)| (s, t));
    walk(denoiser, image, inputs, upwards, grid.steps(), observer)
}

fn walk(
    denoiser: &dyn Denoiser,
    mut z: Tensor<4>,
    inputs: &Inputs,
    pairs: impl Iterator<Item = (f64, f64)>,
    total: usize,
    observer: Observer<'_>,
) -> Result<Tensor<4>, Cancelled> {
    let batch = z.dims()[0];
    let mut calls = Calls {
        denoiser,
        inputs,
        observer,
        total,
    };
    for (index, (t, s)) in pairs.enumerate() {
        let prediction = calls.predict(index, z, t)?;
        z = prediction.ddim(&vec![denoiser.schedule().at(s); batch]);
    }
    Ok(z)
}
