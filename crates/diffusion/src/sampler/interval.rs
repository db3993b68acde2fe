//! The exponential-integrator step that the multistep solvers share.

use crate::NoiseLevel;
use burn::tensor::Tensor;

/// One interval from time t to s of the probability-flow ODE, solved exactly for a data term D that
/// stays constant over it (Proposition 4.1 of 2211.01095): z_s = (σ_s / σ_t) z_t + α_s (1 − e^{−h})
/// D.
///
/// λ is here half the log-SNR, ln(α / σ), as in the papers of these solvers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Interval {
    /// h = λ_s − λ_t; +∞ where s carries no noise.
    pub(super) h: f64,
    /// α_s.
    pub(super) alpha: f64,
    /// α_s (1 − e^{−h}), written as α_s − α_t σ_s / σ_t, which is finite for every h.
    pub(super) gain: f64,
    /// σ_s / σ_t.
    keep: f64,
}

/// On the uniform grid of a cosine schedule the ratio rises to ln 2 / ln 1.5 = 1.7 just before the
/// last step.
const LONGEST_REACH: f64 = 2.0;

impl Interval {
    pub(super) fn between(t: NoiseLevel, s: NoiseLevel) -> Self {
        let keep = s.sigma() / t.sigma();
        Self {
            h: (s.log_snr() - t.log_snr()) / 2.0,
            alpha: s.alpha(),
            gain: s.alpha() - t.alpha() * keep,
            keep,
        }
    }

    /// h / h_before, by how much an extrapolation from the step before is stretched over this one;
    /// `None` where it is too far for that, and the step is to be of first order.
    ///
    /// The published solvers have no such bound, because their grids keep the ratio near 1. Ours
    /// also serve grids whose last steps go from t = 1/N to almost clean, and from there to λ = +∞.
    pub(super) fn reach(&self, before: &Self) -> Option<f64> {
        Some(self.h / before.h).filter(|&ratio| ratio <= LONGEST_REACH)
    }

    /// z_s for the data term `d`.
    pub(super) fn step(&self, z: Tensor<4>, d: Tensor<4>) -> Tensor<4> {
        z * self.keep + d * self.gain
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn gain_is_the_papers(t in 0.01..1.57f64, share in 0.001..1.0f64) {
            let (t, s) = (NoiseLevel { angle: t }, NoiseLevel { angle: t * share });
            let interval = Interval::between(t, s);
            let paper = s.alpha() * (1.0 - (-interval.h).exp());
            prop_assert!((interval.gain - paper).abs() < 1e-9);
        }
    }

    #[test]
    fn a_clean_end_takes_only_the_data_term() {
        let interval = Interval::between(NoiseLevel { angle: 0.3 }, NoiseLevel { angle: 0.0 });
        assert_eq!((interval.keep, interval.gain), (0.0, 1.0));
        assert_eq!(interval.h, f64::INFINITY);
        assert_eq!(interval.reach(&interval), None);
    }
}
