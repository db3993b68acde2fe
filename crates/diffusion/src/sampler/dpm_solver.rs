//! DPM-Solver++(2M).

use super::interval::Interval;
use super::observer::{Calls, Cancelled, Observer};
use crate::{Denoiser, Inputs, TimeGrid};
use burn::tensor::Tensor;

/// Below this many steps the last one is of first order, as in the authors' code and in diffusers.
const FEW_STEPS: usize = 15;

/// DPM-Solver++(2M), the second-order multistep solver of the data-prediction ODE (2211.01095, Alg.
/// 2).
///
/// The first step is of first order (DDIM); so is the last of fewer than 15, and every step more
/// than twice as long in λ as the one before, such as the last one to a clean image. One network
/// call a step. Returns z at the grid's last time.
///
/// # Errors
/// When the observer stops it.
pub fn dpm_solver_pp_2m(
    denoiser: &dyn Denoiser,
    noise: Tensor<4>,
    inputs: &Inputs,
    grid: &TimeGrid,
    observer: Observer<'_>,
) -> Result<Tensor<4>, Cancelled> {
    let total = grid.steps();
    let levels = denoiser.schedule().levels(grid.times());
    let mut calls = Calls {
        denoiser,
        inputs,
        observer,
        total,
    };
    let mut z = noise;
    let mut before: Option<(Interval, Tensor<4>)> = None;
    for (index, (t, _)) in grid.pairs().enumerate() {
        let prediction = calls.predict(index, z, t)?;
        let x_hat = prediction.x();
        let interval = Interval::between(levels[index], levels[index + 1]);
        let first_order = total < FEW_STEPS && index + 1 == total;
        let slope = before
            .filter(|_| !first_order)
            .and_then(|(earlier, x)| Some((x_hat.clone() - x) * interval.reach(&earlier)?));
        // D = (1 + 1/2r) x̂_t − (1/2r) x̂ of the step before, with r = h_before / h.
        let d = match slope {
            Some(slope) => x_hat.clone() + slope * 0.5,
            None => x_hat.clone(),
        };
        z = interval.step(prediction.z(), d);
        before = Some((interval, x_hat));
    }
    Ok(z)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analytic::{Gaussian, GaussianDenoiser};
    use crate::{BetaSchedule, Prediction, Schedule, ScheduleConfig, Spacing, per_sample};
    use burn::tensor::Device;
    use std::ops::ControlFlow;

    /// On even steps of λ that end at some noise, so that no other rule makes a step DDIM's.
    #[test]
    fn the_last_of_few_steps_is_of_first_order() {
        let schedule = Schedule::new(ScheduleConfig::Discrete {
            betas: BetaSchedule::ScaledLinear,
            beta_start: 0.00085,
            beta_end: 0.012,
            steps: 1000,
            zero_terminal_snr: false,
            clean_end: false,
        })
        .expect("valid");
        let data = Gaussian { mu: 0.3, s: 0.5 };
        let model = GaussianDenoiser::unconditional(schedule.clone(), data);
        for steps in [3, 14, 15, 20] {
            let grid = TimeGrid::new(&schedule, Spacing::LogSnr, steps).expect("a grid");
            let mut seen: Vec<Prediction> = vec![];
            let noise = per_sample([1.7], &Device::flex());
            let end = dpm_solver_pp_2m(&model, noise, &Inputs::default(), &grid, &mut |step| {
                seen.push(step.prediction.clone());
                ControlFlow::Continue(())
            });
            let mut arrived: Vec<Tensor<4>> = seen[1..].iter().map(Prediction::z).collect();
            arrived.push(end.expect("to its end"));
            for (index, (from, to)) in seen.iter().zip(arrived).enumerate() {
                let level = schedule.at(grid.times()[index + 1]);
                let apart = (from.ddim(&[level]) - to).abs().into_scalar::<f32>();
                let first_order = index == 0 || (steps < 15 && index + 1 == steps);
                assert_eq!(apart < 1e-5, first_order, "{index} of {steps}: {apart}");
            }
        }
    }
}
