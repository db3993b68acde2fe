//! Stochastic DDIM, and ancestral sampling as its fully stochastic end.

use super::noise::{StepNoise, forward_kernel};
use super::observer::{Calls, Cancelled, Observer};
use crate::{Denoiser, Inputs, NoiseLevel, TimeGrid, per_sample};
use burn::tensor::Tensor;

/// DDPM ancestral sampling (2006.11239, Alg. 2): z_s is drawn from the posterior q(z_s | z_t, x̂),
/// with its own variance β̃ (the smaller of the paper's two choices). The same as [`ddim_eta`] with
/// η = 1.
///
/// One network call a step. Returns z at the grid's last time.
///
/// # Errors
/// When the observer stops it.
pub fn ancestral(
    denoiser: &dyn Denoiser,
    noise: Tensor<4>,
    inputs: &Inputs,
    grid: &TimeGrid,
    fresh: &StepNoise,
    observer: Observer<'_>,
) -> Result<Tensor<4>, Cancelled> {
    ddim_eta(denoiser, noise, inputs, grid, 1.0, fresh, observer)
}

/// DDIM with a share `eta` in [0, 1] of the posterior's noise (2010.02502, Eqs. 12 and 16):
/// z_s = α_s x̂ + √(σ_s² − ς²) ε̂ + ς n. η = 0 is [`ddim`](super::ddim), η = 1 is [`ancestral`].
///
/// One network call a step. Returns z at the grid's last time.
///
/// # Errors
/// When the observer stops it.
pub fn ddim_eta(
    denoiser: &dyn Denoiser,
    noise: Tensor<4>,
    inputs: &Inputs,
    grid: &TimeGrid,
    eta: f64,
    fresh: &StepNoise,
    observer: Observer<'_>,
) -> Result<Tensor<4>, Cancelled> {
    let [batch, ..] = noise.dims();
    let device = noise.device();
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
        let (level, to) = (levels[index], levels[index + 1]);
        let (direction, spread) = split(level, to, eta);
        let all = |value: f64| per_sample(vec![value; batch], &device);
        z = prediction.x() * all(to.alpha()) + prediction.eps() * all(direction);
        if spread > 0.0 {
            z = z.clone() + fresh.draw(index, &z) * all(spread);
        }
    }
    Ok(z)
}

/// (√(σ_s² − ς²), ς) with ς = η (σ_s / σ_t) σ_{t|s}, σ_{t|s} the noise that the forward process
/// adds from s to t.
fn split(t: NoiseLevel, s: NoiseLevel, eta: f64) -> (f64, f64) {
    let (_, added) = forward_kernel(s, t);
    let spread = eta * s.sigma() / t.sigma() * added;
    let direction = (s.sigma().powi(2) - spread.powi(2)).max(0.0).sqrt();
    (direction, spread)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analytic::{Gaussian, GaussianDenoiser};
    use crate::{Schedule, TimeGrid};
    use burn::tensor::Device;
    use proptest::prelude::*;

    proptest! {
        /// At η = 1 the step is DDPM's posterior in its own terms (2006.11239, Eqs. 6 and 7), with
        /// β = 1 − ᾱ_t / ᾱ_s: the coefficients of x̂ and z_t in the mean, and the variance β̃.
        #[test]
        fn eta_one_is_the_ddpm_posterior(t in 0.05..1.5f64, share in 0.01..0.99f64) {
            let (t, s) = (NoiseLevel { angle: t }, NoiseLevel { angle: t * share });
            let (direction, spread) = split(t, s, 1.0);
            let beta = 1.0 - (t.alpha() / s.alpha()).powi(2);
            let of_x = s.alpha() * beta / t.sigma().powi(2);
            let of_z = t.alpha() / s.alpha() * s.sigma().powi(2) / t.sigma().powi(2);
            let variance = s.sigma().powi(2) / t.sigma().powi(2) * beta;
            // ε̂ = (z − α_t x̂) / σ_t inside our form.
            prop_assert!((direction / t.sigma() - of_z).abs() < 1e-9);
            prop_assert!((s.alpha() - direction * t.alpha() / t.sigma() - of_x).abs() < 1e-9);
            prop_assert!((spread.powi(2) - variance).abs() < 1e-9);
        }

        /// Whatever η, signal and noise of z_s add up to the level of s.
        #[test]
        fn every_eta_keeps_the_marginal(t in 0.05..1.5f64, share in 0.0..0.99f64, eta in 0.0..1.0f64) {
            let s = NoiseLevel { angle: t * share };
            let (direction, spread) = split(NoiseLevel { angle: t }, s, eta);
            prop_assert!((direction.powi(2) + spread.powi(2) - s.sigma().powi(2)).abs() < 1e-12);
        }
    }

    /// Three steps by hand, each with its own noise.
    #[test]
    fn steps_are_those_by_hand() {
        let (schedule, eta) = (Schedule::default(), 0.7);
        let data = Gaussian { mu: 0.3, s: 0.5 };
        let model = GaussianDenoiser::unconditional(schedule.clone(), data);
        let (grid, fresh) = (TimeGrid::uniform_from(0.9, 3), StepNoise::new(5, vec![0]));
        let start = per_sample([0.8], &Device::flex());
        let number = |tensor: Tensor<4>| f64::from(tensor.into_scalar::<f32>());
        let mut z = 0.8;
        for (index, (t, s)) in grid.pairs().enumerate() {
            let (from, to) = (schedule.at(t), schedule.at(s));
            let (a, b) = data.velocity(from);
            let v = a * z + b;
            let x = from.alpha() * z - from.sigma() * v;
            let eps = from.sigma() * z + from.alpha() * v;
            // σ_{t|s}² = 1 − α_t² / α_s².
            let added = (1.0 - (from.alpha() / to.alpha()).powi(2)).sqrt();
            let spread = eta * to.sigma() / from.sigma() * added;
            let direction = (to.sigma().powi(2) - spread.powi(2)).sqrt();
            let noise = number(fresh.draw(index, &start));
            z = to.alpha() * x + direction * eps + spread * noise;
        }
        let none = Inputs::default();
        let ignore = &mut super::super::ignore;
        let made = ddim_eta(&model, start, &none, &grid, eta, &fresh, ignore);
        let made = number(made.expect("to its end"));
        assert!((made - z).abs() < 1e-4, "{made} for {z}");
    }
}
