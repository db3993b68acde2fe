//! Loss weights over noise levels.

use fewstep_diffusion::NoiseLevel;
use serde::{Deserialize, Serialize};

/// The weight ω(λ) of the squared error of x̂ (section 4 of 2202.00512).
///
/// Losses are computed on v, where every weight stays bounded: a weight ω on x̂ is σ² ω on v̂.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weighting {
    /// ω = e^λ: the error of ε̂.
    Snr,
    /// ω = max(e^λ, 1): the larger of the errors of x̂ and ε̂. What the papers' pixel models use.
    #[default]
    TruncatedSnr,
    /// ω = 1 + e^λ, which is the plain error of v̂.
    #[serde(alias = "v-mse")]
    SnrPlusOne,
}

impl Weighting {
    /// ω in terms of v: α², max(α², σ²) or 1.
    pub fn of_velocity(self, level: NoiseLevel) -> f64 {
        let signal = level.alpha().powi(2);
        match self {
            Weighting::Snr => signal,
            Weighting::TruncatedSnr => signal.max(level.sigma().powi(2)),
            Weighting::SnrPlusOne => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_on_v_are_the_papers_weights_on_x() {
        for angle in [0.05, 0.4, 0.9, 1.4] {
            let level = NoiseLevel { angle };
            let snr = level.log_snr().exp();
            let variance = level.sigma().powi(2);
            for (weighting, paper) in [
                (Weighting::Snr, snr),
                (Weighting::TruncatedSnr, snr.max(1.0)),
                (Weighting::SnrPlusOne, 1.0 + snr),
            ] {
                let ours = weighting.of_velocity(level);
                assert!(
                    (ours - paper * variance).abs() < 1e-12,
                    "{weighting:?} at {angle}"
                );
            }
        }
    }
}
