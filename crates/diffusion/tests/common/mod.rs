//! What the tests of this crate share.
#![allow(dead_code, reason = "no test uses all of it")]

use burn::tensor::{Device, Tensor, TensorData};
use fewstep_diffusion::analytic::{Gaussian, GaussianDenoiser};
use fewstep_diffusion::sampler::{Cancelled, Observer};
use fewstep_diffusion::{BetaSchedule, Schedule, ScheduleConfig};
use std::ops::ControlFlow;

/// Stable Diffusion's schedule, ending at a clean image or at the table's first entry.
pub(crate) fn stable_diffusion(clean_end: bool) -> Schedule {
    Schedule::new(ScheduleConfig::Discrete {
        betas: BetaSchedule::ScaledLinear,
        beta_start: 0.00085,
        beta_end: 0.012,
        steps: 1000,
        zero_terminal_snr: false,
        clean_end,
    })
    .expect("a valid schedule")
}

/// The data of most tests.
pub(crate) const DATA: Gaussian = Gaussian { mu: 0.3, s: 0.5 };

/// The best denoiser of [`DATA`].
pub(crate) fn denoiser(schedule: Schedule) -> GaussianDenoiser {
    GaussianDenoiser::unconditional(schedule, DATA)
}

/// One image of one row.
pub(crate) fn row(values: &[f64]) -> Tensor<4> {
    let values: Vec<f32> = values.iter().map(|&v| v as f32).collect();
    let shape = [1, 1, 1, values.len()];
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

/// All values of a tensor.
pub(crate) fn values(tensor: Tensor<4>) -> Vec<f64> {
    let values: Vec<f32> = tensor.into_data().try_to_vec().expect("f32 data");
    values.into_iter().map(f64::from).collect()
}

/// The largest absolute difference.
pub(crate) fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    // Not `f64::max`, which would hide a NaN.
    a.iter().zip(b).fold(0.0, |largest, (a, b)| {
        let difference = (a - b).abs();
        if difference <= largest {
            largest
        } else {
            difference
        }
    })
}

/// Runs a sampler and returns z before every step and after the last.
pub(crate) fn trajectory(
    sampler: impl FnOnce(Observer<'_>) -> Result<Tensor<4>, Cancelled>,
) -> Vec<Vec<f64>> {
    let mut seen = Vec::new();
    let last = sampler(&mut |step| {
        assert_eq!(step.index, seen.len());
        seen.push(values(step.prediction.z()));
        ControlFlow::Continue(())
    });
    seen.push(values(last.expect("not cancelled")));
    seen
}
