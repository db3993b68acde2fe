//! The tables of discrete schedules.

use super::BetaSchedule;
use std::f64::consts::FRAC_PI_2;

/// β_k of every step.
pub(super) fn beta_table(betas: BetaSchedule, start: f64, end: f64, steps: usize) -> Vec<f64> {
    let line = |from: f64, to: f64, k: usize| from + (to - from) * k as f64 / (steps - 1) as f64;
    let squared_cosine = |k: usize| {
        let u = (k as f64 / steps as f64 + 0.008) / 1.008;
        (u * FRAC_PI_2).cos().powi(2)
    };
    (0..steps)
        .map(|k| match betas {
            BetaSchedule::Linear => line(start, end, k),
            BetaSchedule::ScaledLinear => line(start.sqrt(), end.sqrt(), k).powi(2),
            BetaSchedule::SquaredCosine => {
                (1.0 - squared_cosine(k + 1) / squared_cosine(k)).min(0.999)
            }
        })
        .collect()
}

/// √ᾱ_k of every step.
pub(super) fn cumulative_alphas(betas: &[f64]) -> Vec<f64> {
    betas
        .iter()
        .scan(1.0, |product, beta| {
            *product *= 1.0 - beta;
            Some(f64::sqrt(*product))
        })
        .collect()
}

/// Shifts and scales √ᾱ so that the last is 0 and the first stays (Alg. 1 of 2305.08891).
pub(super) fn rescale_to_zero_terminal_snr(alphas: &mut [f64]) {
    let first = alphas[0];
    let last = alphas[alphas.len() - 1];
    for alpha in alphas {
        *alpha = (*alpha - last) * first / (first - last);
    }
}
