//! The noise that samplers add.

use crate::random::{self, Purpose};
use crate::{NoiseLevel, per_sample};
use burn::tensor::Tensor;

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

/// z_s from z_k with k < s, as the forward process does it:
/// z_s = (α_s / α_k) z_k + σ_{s|k} n with σ²_{s|k} = (1 − e^{λ_s − λ_k}) σ_s².
pub(super) fn renoise(z: Tensor<4>, k: NoiseLevel, s: NoiseLevel, noise: Tensor<4>) -> Tensor<4> {
    let (scale, sigma) = forward_kernel(k, s);
    let [batch, ..] = z.dims();
    let device = z.device();
    z * per_sample(vec![scale; batch], &device) + noise * per_sample(vec![sigma; batch], &device)
}

/// (α_s / α_k, σ_{s|k}). The variance is written as σ_s² − (α_s / α_k)² σ_k², which is the same
/// number and finite at k = 0 too.
pub(super) fn forward_kernel(k: NoiseLevel, s: NoiseLevel) -> (f64, f64) {
    let scale = s.alpha() / k.alpha();
    let variance = s.sigma().powi(2) - (scale * k.sigma()).powi(2);
    (scale, variance.max(0.0).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The step up is the papers' σ²_{s|k}, and keeps the marginal variance exactly.
        #[test]
        fn renoising_keeps_the_marginal(low in 0.001..1.4f64, gap in 0.001..0.15f64) {
            let (k, s) = (NoiseLevel { angle: low }, NoiseLevel { angle: low + gap });
            let (scale, sigma) = forward_kernel(k, s);
            let paper = (1.0 - (s.log_snr() - k.log_snr()).exp()) * s.sigma().powi(2);
            prop_assert!((sigma * sigma - paper).abs() < 1e-9);
            let marginal = scale.powi(2) * k.sigma().powi(2) + sigma.powi(2);
            prop_assert!((marginal - s.sigma().powi(2)).abs() < 1e-12);
        }
    }
}
