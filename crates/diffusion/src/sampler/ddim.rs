//! DDIM, forwards (generation) and backwards (encoding).

use super::{Observer, Step};
use crate::{Conditioning, Denoiser, TimeGrid};
use burn::tensor::Tensor;

/// Deterministic DDIM with η = 0 (2010.02502, Eq. 12): from noise at the grid's first time to its end.
/// Returns z at the last time, which is the picture when the grid ends at 0.
pub fn ddim(
    denoiser: &dyn Denoiser,
    noise: Tensor<4>,
    conditioning: &Conditioning,
    grid: &TimeGrid,
    observer: Observer<'_>,
) -> Tensor<4> {
    walk(
        denoiser,
        noise,
        conditioning,
        grid.pairs(),
        grid.steps(),
        observer,
    )
}

/// DDIM with time running up: a picture becomes the noise from which [`ddim`] on the same grid gives it
/// back (section 4.3 of 2210.03142). The network is called at the lower end of each interval.
pub fn encode(
    denoiser: &dyn Denoiser,
    picture: Tensor<4>,
    conditioning: &Conditioning,
    grid: &TimeGrid,
    observer: Observer<'_>,
) -> Tensor<4> {
    let upwards = grid.pairs().rev().map(|(t, s)| (s, t));
    walk(
        denoiser,
        picture,
        conditioning,
        upwards,
        grid.steps(),
        observer,
    )
}

fn walk(
    denoiser: &dyn Denoiser,
    mut z: Tensor<4>,
    conditioning: &Conditioning,
    pairs: impl Iterator<Item = (f64, f64)>,
    total: usize,
    observer: Observer<'_>,
) -> Tensor<4> {
    let batch = z.dims()[0];
    for (index, (t, s)) in pairs.enumerate() {
        let prediction = denoiser.predict(z, &vec![t; batch], conditioning);
        z = prediction.ddim(&vec![denoiser.schedule().at(s); batch]);
        observer(Step {
            index,
            total,
            t,
            prediction: &prediction,
        });
    }
    z
}
