//! The stochastic samplers keep the distribution of the data: mean and variance of many pixels,
//! fixed seeds.

mod common;

use burn::tensor::{Device, Tensor};
use common::{DATA, denoiser, distance, values};
use fewstep_diffusion::analytic::GaussianDenoiser;
use fewstep_diffusion::random::{Purpose, normal};
use fewstep_diffusion::sampler::{
    Cancelled, Churn, StepNoise, ancestral, ddim, ddim_eta, heun, heun_churn, ignore, stochastic,
};
use fewstep_diffusion::{Inputs, Schedule, TimeGrid};

const SAMPLES: u64 = 16;
/// Pixels in all: 65 536. The mean of so many draws of N(0.3, 0.5²) has a standard error of 0.002,
/// their variance one of 0.55 %.
const SIDE: usize = 64;
const STEPS: usize = 256;

fn model() -> GaussianDenoiser {
    denoiser(Schedule::default())
}

fn noise() -> Tensor<4> {
    let indices: Vec<u64> = (0..SAMPLES).collect();
    normal(
        11,
        &indices,
        Purpose::InitialNoise,
        [1, SIDE, SIDE],
        &Device::flex(),
    )
}

fn fresh() -> StepNoise {
    StepNoise::new(11, (0..SAMPLES).collect())
}

fn all_values(generated: Result<Tensor<4>, Cancelled>) -> Vec<f64> {
    values(generated.expect("not cancelled"))
}

/// Within 4 standard errors, and 3 % more for the variance: with the posterior's noise and 256
/// steps it falls 2.9 % short of the data's, for the posterior of one x̂ is narrower than that of
/// all x (10 % short with 64 steps, 0.8 % with 1024).
fn assert_keeps_the_data(name: &str, generated: Result<Tensor<4>, Cancelled>) {
    let x = all_values(generated);
    let count = x.len() as f64;
    let mean = x.iter().sum::<f64>() / count;
    let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (count - 1.0);
    let ratio = variance / DATA.s.powi(2);
    assert!((mean - DATA.mu).abs() < 0.008, "{name}: mean {mean}");
    assert!(
        (ratio - 1.0).abs() < 0.052,
        "{name}: variance {ratio} of the data's"
    );
}

#[test]
fn stochastic_samplers_keep_mean_and_variance() {
    let (model, none, fresh) = (model(), Inputs::default(), fresh());
    let grid = TimeGrid::uniform(STEPS);
    let generated = ancestral(&model, noise(), &none, &grid, &fresh, &mut ignore);
    assert_keeps_the_data("ancestral", generated);
    let generated = ddim_eta(&model, noise(), &none, &grid, 0.5, &fresh, &mut ignore);
    assert_keeps_the_data("DDIM with half the noise", generated);
    let generated = stochastic(&model, noise(), &none, &grid, &fresh, &mut ignore);
    assert_keeps_the_data("stochastic N-step", generated);
    // EDM makes up with S_noise for networks that remove too much noise; the exact denoiser does
    // not.
    let churn = Churn {
        noise: 1.0,
        ..Churn::default()
    };
    let generated = heun_churn(&model, noise(), &none, &grid, churn, &fresh, &mut ignore);
    assert_keeps_the_data("Heun with churn", generated);
}

/// What the variance of ancestral sampling falls short of, it gains with the number of steps.
#[test]
fn more_ancestral_steps_come_nearer_to_the_variance() {
    let (model, none, fresh) = (model(), Inputs::default(), fresh());
    let shortfall = |steps| {
        let grid = TimeGrid::uniform(steps);
        let x = all_values(ancestral(
            &model,
            noise(),
            &none,
            &grid,
            &fresh,
            &mut ignore,
        ));
        let squares = x.iter().map(|x| (x - DATA.mu).powi(2)).sum::<f64>() / x.len() as f64;
        1.0 - squares / DATA.s.powi(2)
    };
    let (coarse, fine) = (shortfall(16), shortfall(64));
    assert!(
        fine < coarse / 2.0 && (fine - 0.102).abs() < 0.022,
        "{coarse}, then {fine}"
    );
}

/// The noise of the steps matters: the same start ends elsewhere with another seed.
#[test]
fn stochastic_samplers_use_their_fresh_noise() {
    let (model, none) = (model(), Inputs::default());
    let grid = TimeGrid::uniform(8);
    let generate = |seed| {
        let fresh = StepNoise::new(seed, (0..SAMPLES).collect());
        [
            ancestral(&model, noise(), &none, &grid, &fresh, &mut ignore),
            stochastic(&model, noise(), &none, &grid, &fresh, &mut ignore),
            heun_churn(
                &model,
                noise(),
                &none,
                &grid,
                Churn::default(),
                &fresh,
                &mut ignore,
            ),
        ]
        .map(all_values)
    };
    let (first, again, other) = (generate(1), generate(1), generate(2));
    assert_eq!(first, again);
    for (first, other) in first.iter().zip(&other) {
        assert!(distance(first, other) > 0.1);
    }
}

#[test]
fn without_noise_the_stochastic_forms_are_the_deterministic_ones() {
    let (model, none, fresh) = (model(), Inputs::default(), fresh());
    let grid = TimeGrid::uniform(8);
    let still = ddim_eta(&model, noise(), &none, &grid, 0.0, &fresh, &mut ignore);
    let expected = ddim(&model, noise(), &none, &grid, &mut ignore);
    assert!(distance(&all_values(still), &all_values(expected)) < 1e-5);
    let churn = Churn {
        amount: 0.0,
        ..Churn::default()
    };
    let still = heun_churn(&model, noise(), &none, &grid, churn, &fresh, &mut ignore);
    let expected = heun(&model, noise(), &none, &grid, &mut ignore);
    assert!(distance(&all_values(still), &all_values(expected)) < 1e-5);
}
