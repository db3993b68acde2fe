//! Runs a sampler by name.

use super::ancestral::{ancestral, ddim_eta};
use super::choice::Sampler;
use super::ddim::ddim;
use super::dpm_solver::dpm_solver_pp_2m;
use super::heun::{Churn, heun, heun_churn};
use super::n_step::{deterministic, multistep_consistency, stochastic};
use super::noise::StepNoise;
use super::observer::{Cancelled, Observer};
use super::unipc::unipc;
use crate::{Denoiser, Inputs, TimeGrid};
use burn::tensor::Tensor;

/// Runs a sampler. Only stochastic ones use `fresh`.
///
/// # Shapes
/// - `noise` and output: `[batch, channels, height, width]`
///
/// # Errors
/// When the observer stops it.
pub fn sample(
    sampler: Sampler,
    denoiser: &dyn Denoiser,
    noise: Tensor<4>,
    inputs: &Inputs,
    grid: &TimeGrid,
    fresh: &StepNoise,
    observer: Observer<'_>,
) -> Result<Tensor<4>, Cancelled> {
    match sampler {
        Sampler::Deterministic => deterministic(denoiser, noise, inputs, grid, observer),
        Sampler::Stochastic => stochastic(denoiser, noise, inputs, grid, fresh, observer),
        Sampler::MultistepConsistency => {
            multistep_consistency(denoiser, noise, inputs, grid, fresh, observer)
        }
        Sampler::DDIM => ddim(denoiser, noise, inputs, grid, observer),
        Sampler::Ddim { eta } => ddim_eta(denoiser, noise, inputs, grid, eta, fresh, observer),
        Sampler::Ancestral => ancestral(denoiser, noise, inputs, grid, fresh, observer),
        Sampler::DpmSolverPp => dpm_solver_pp_2m(denoiser, noise, inputs, grid, observer),
        Sampler::UniPc { basis } => unipc(denoiser, noise, inputs, grid, basis, observer),
        Sampler::HEUN => heun(denoiser, noise, inputs, grid, observer),
        Sampler::Heun { churn } => {
            let churn = Churn {
                amount: churn,
                ..Churn::default()
            };
            heun_churn(denoiser, noise, inputs, grid, churn, fresh, observer)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analytic::{Gaussian, GaussianDenoiser};
    use crate::{Prediction, Schedule, per_sample};
    use burn::tensor::Device;
    use std::ops::ControlFlow;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const NOISY: [Sampler; 2] = [Sampler::Ddim { eta: 0.5 }, Sampler::Heun { churn: 40.0 }];

    fn all() -> impl Iterator<Item = Sampler> {
        Sampler::ALL.into_iter().chain(NOISY)
    }

    struct Counting {
        inner: GaussianDenoiser,
        calls: AtomicUsize,
    }

    impl Counting {
        fn new() -> Self {
            let data = Gaussian { mu: 0.0, s: 0.5 };
            Self {
                inner: GaussianDenoiser::unconditional(Schedule::default(), data),
                calls: AtomicUsize::new(0),
            }
        }
    }

    impl Denoiser for Counting {
        fn predict(&self, z: Tensor<4>, t: &[f64], inputs: &Inputs) -> Prediction {
            self.calls.fetch_add(1, Ordering::Relaxed);
            self.inner.predict(z, t, inputs)
        }
        fn schedule(&self) -> &Schedule {
            self.inner.schedule()
        }
    }

    #[test]
    fn every_sampler_calls_the_network_as_often_as_it_says() {
        let fresh = StepNoise::new(0, vec![0]);
        for sampler in all() {
            for steps in [1, 2, 3, 20] {
                let model = Counting::new();
                let grid = TimeGrid::uniform(steps);
                let noise = per_sample([1.0], &Device::flex());
                let mut seen = 0;
                let none = Inputs::default();
                let made = sample(sampler, &model, noise, &none, &grid, &fresh, &mut |_| {
                    seen += 1;
                    ControlFlow::Continue(())
                });
                assert!(made.is_ok());
                let calls = model.calls.into_inner();
                assert_eq!(calls, sampler.network_calls(steps), "{sampler}");
                assert_eq!(seen, steps, "{sampler} shows every step once");
            }
        }
    }

    #[test]
    fn every_sampler_stops_at_once() {
        const STEPS: usize = 4;
        let fresh = StepNoise::new(0, vec![0]);
        for sampler in all() {
            for last in 0..STEPS {
                let model = Counting::new();
                let grid = TimeGrid::uniform(STEPS);
                let noise = per_sample([1.0], &Device::flex());
                let mut seen = vec![];
                let none = Inputs::default();
                let made = sample(sampler, &model, noise, &none, &grid, &fresh, &mut |step| {
                    seen.push(step.index);
                    match step.index == last {
                        true => ControlFlow::Break(()),
                        false => ControlFlow::Continue(()),
                    }
                });
                assert!(matches!(made, Err(Cancelled)), "{sampler}");
                let steps: Vec<usize> = (0..=last).collect();
                assert_eq!(seen, steps, "{sampler}");
                let calls = match sampler {
                    Sampler::Heun { .. } => 2 * last + 1,
                    _ => last + 1,
                };
                assert_eq!(model.calls.into_inner(), calls, "{sampler}");
            }
        }
    }

    /// Of the options, each sampler has its own: more churn is another image.
    #[test]
    fn options_reach_their_sampler() {
        let (model, fresh) = (Counting::new(), StepNoise::new(0, vec![0]));
        let grid = TimeGrid::uniform(8);
        let end = |sampler| {
            let (noise, none) = (per_sample([1.0], &Device::flex()), Inputs::default());
            let ignore = &mut super::super::ignore;
            let made = sample(sampler, &model, noise, &none, &grid, &fresh, ignore);
            made.expect("to its end").into_scalar::<f32>()
        };
        let of_churn = |churn| end(Sampler::Heun { churn });
        assert!(of_churn(0.5) != of_churn(2.0) && of_churn(0.5) != of_churn(0.0));
        let of_eta = |eta| end(Sampler::Ddim { eta });
        assert!(of_eta(0.5) != of_eta(1.0) && of_eta(0.5) != of_eta(0.0));
    }
}
