//! The deterministic samplers against the exact flow of a normal distribution, and against each
//! other.

mod common;

use burn::tensor::Tensor;
use common::{DATA, denoiser, distance, row, stable_diffusion, trajectory, values};
use fewstep_diffusion::analytic::{Component, Coupling, Gaussian, MixtureDenoiser};
use fewstep_diffusion::sampler::{
    Sampler, StepNoise, UniPcBasis, ddim, deterministic, encode, ignore, sample, unipc,
};
use fewstep_diffusion::{
    BetaSchedule, Denoiser, Inputs, NoiseLevel, Schedule, ScheduleConfig, Spacing, TimeGrid,
};

const START: [f64; 7] = [-2.5, -1.0, -0.3, 0.0, 0.6, 1.4, 2.5];
/// With the most that its error may be of DDIM's.
const HIGHER_ORDER: [(Sampler, f64); 3] = [
    (Sampler::DpmSolverPp, 1.01),
    (Sampler::UNIPC, 1.01),
    (Sampler::HEUN, 1.25),
];

fn grid(schedule: &Schedule, spacing: Spacing, steps: usize) -> TimeGrid {
    TimeGrid::new(schedule, spacing, steps).expect("a valid grid")
}

/// The largest distance from where the exact flow goes.
fn error(kind: Sampler, schedule: &Schedule, grid: &TimeGrid) -> f64 {
    let fresh = StepNoise::new(0, vec![0]);
    let (model, none) = (denoiser(schedule.clone()), Inputs::default());
    let generated =
        sample(kind, &model, row(&START), &none, grid, &fresh, &mut ignore).expect("not cancelled");
    let start = schedule.at(grid.times()[0]);
    let exact = DATA.flow(row(&START), start, schedule.at(0.0));
    distance(&values(generated), &values(exact))
}

/// The error of a solver of order p falls as N^−p: on even steps of λ, with the whole grid at
/// finite λ, from 32 to 64 steps. UniPC-2 with its corrector is of order 3.
#[test]
fn solvers_have_their_order() {
    let schedule = stable_diffusion(false);
    for (kind, order) in [
        (Sampler::DDIM, 1.0),
        (Sampler::DpmSolverPp, 2.0),
        (Sampler::HEUN, 2.0),
        (Sampler::UNIPC, 3.0),
    ] {
        let of = |steps| error(kind, &schedule, &grid(&schedule, Spacing::LogSnr, steps));
        let seen = (of(32) / of(64)).log2();
        assert!(
            (seen - order).abs() < 0.25,
            "{kind} is of order {seen:.2}, not {order}"
        );
    }
}

/// UniPC's other basis solves the same equation to the same order.
#[test]
fn unipc_with_bh1_has_its_order() {
    let schedule = stable_diffusion(false);
    let (model, none) = (denoiser(schedule.clone()), Inputs::default());
    let exact = values(DATA.flow(row(&START), schedule.at(1.0), schedule.at(0.0)));
    let of = |steps| {
        let grid = grid(&schedule, Spacing::LogSnr, steps);
        let z = unipc(
            &model,
            row(&START),
            &none,
            &grid,
            UniPcBasis::Bh1,
            &mut ignore,
        )
        .expect("not cancelled");
        distance(&values(z), &exact)
    };
    let seen = (of(32) / of(64)).log2();
    assert!((seen - 3.0).abs() < 0.35, "order {seen:.2}");
}

/// Two steps by their formulas, on a grid that ends with noise: the first one is corrected, and the last
/// is of first order though one as long comes before it.
#[test]
fn the_last_step_of_unipc_is_of_first_order() {
    let schedule = stable_diffusion(false);
    let grid = grid(&schedule, Spacing::LogSnr, 2);
    let model = denoiser(schedule.clone());
    let x_hat = |z: &Tensor<4>, t: f64| {
        let times = vec![t; z.dims()[0]];
        model.predict(z.clone(), &times, &Inputs::default()).x()
    };
    // How much of z and of x̂ a step makes.
    let shares = |t: f64, s: f64| {
        let [t, s] = [t, s].map(|time| schedule.at(time));
        let keep = s.sigma() / t.sigma();
        (keep, s.alpha() - t.alpha() * keep)
    };
    let &[t, s, end] = grid.times() else {
        panic!("two steps")
    };
    assert!(schedule.at(end).sigma() > 0.01);
    let (keep, gain) = shares(t, s);
    let before = x_hat(&row(&START), t);
    let predicted = row(&START) * keep + before.clone() * gain;
    let x = x_hat(&predicted, s);
    let corrected = predicted + (x.clone() - before) * (0.5 * gain);
    let (keep, gain) = shares(s, end);
    let expected = corrected * keep + x * gain;
    let (none, basis) = (Inputs::default(), UniPcBasis::Bh2);
    let made = unipc(&model, row(&START), &none, &grid, basis, &mut ignore);
    let made = values(made.expect("not cancelled"));
    assert!(distance(&made, &values(expected)) < 1e-5);
}

/// On the papers' grid and schedule, where λ runs over ±20 in uneven steps.
#[test]
fn errors_fall_on_the_uniform_cosine_grid() {
    let schedule = Schedule::default();
    for (kind, bound) in [
        (Sampler::DDIM, 0.016),
        (Sampler::DpmSolverPp, 0.002),
        (Sampler::UNIPC, 0.001),
        (Sampler::HEUN, 0.0002),
    ] {
        let of = |steps| error(kind, &schedule, &grid(&schedule, Spacing::Uniform, steps));
        let (coarse, fine) = (of(8), of(128));
        assert!(
            fine < coarse / 10.0 && fine < bound,
            "{kind}: {coarse:.1e}, then {fine:.1e}"
        );
    }
}

/// No step ratio of any grid makes a solver of higher order worse than DDIM on it. The trapezoid of
/// Heun may lose a little where σ/α falls almost fourfold in each step.
#[test]
fn higher_order_never_loses_to_ddim() {
    let zero_terminal_snr = Schedule::new(ScheduleConfig::Discrete {
        betas: BetaSchedule::SquaredCosine,
        beta_start: 1e-4,
        beta_end: 0.02,
        steps: 1000,
        zero_terminal_snr: true,
        clean_end: true,
    })
    .expect("a valid schedule");
    for schedule in [
        Schedule::default(),
        stable_diffusion(true),
        stable_diffusion(false),
        zero_terminal_snr,
    ] {
        for (_, spacing) in Spacing::NAMED {
            for steps in (1..=24).chain([32, 64]) {
                let grid = grid(&schedule, spacing, steps);
                let first_order = error(Sampler::DDIM, &schedule, &grid);
                for (kind, most) in HIGHER_ORDER {
                    let seen = error(kind, &schedule, &grid);
                    assert!(
                        seen <= most * first_order + 1e-4,
                        "{kind}, {spacing:?}, {steps} steps: {seen:.1e}, DDIM {first_order:.1e}, {:?}",
                        schedule.config()
                    );
                }
            }
        }
    }
}

/// One step of any solver is x̂ where the grid ends at a clean image.
#[test]
fn one_step_is_the_denoisers_answer() {
    let schedule = stable_diffusion(true);
    let model = denoiser(schedule.clone());
    let none = Inputs::default();
    let x = values(model.predict(row(&START), &[1.0], &none).x());
    let fresh = StepNoise::new(0, vec![0]);
    for kind in Sampler::ALL {
        let grid = TimeGrid::uniform(1);
        let z = sample(kind, &model, row(&START), &none, &grid, &fresh, &mut ignore)
            .expect("not cancelled");
        assert!(distance(&values(z), &x) < 1e-5, "{kind}");
    }
}

/// Encoding an image and decoding it again gives it back, the better the more steps.
#[test]
fn encoding_is_undone_by_decoding() {
    for schedule in [Schedule::default(), stable_diffusion(true)] {
        let (model, none) = (denoiser(schedule), Inputs::default());
        let image = [-1.0, -0.4, 0.1, 0.5, 0.9];
        let error = |steps| {
            let grid = TimeGrid::uniform(steps);
            let z = encode(&model, row(&image), &none, &grid, &mut ignore).expect("not cancelled");
            let back = ddim(&model, z, &none, &grid, &mut ignore).expect("not cancelled");
            distance(&values(back), &image)
        };
        let errors = [8, 16, 32, 64, 128].map(error);
        for pair in errors.windows(2) {
            assert!(pair[1] < 0.75 * pair[0], "{errors:?}");
        }
        assert!(errors[4] < 0.1, "{errors:?}");
    }
}

/// The deterministic N-step sampler is DDIM on the uniform grid, except for its last step, which is
/// x̂.
#[test]
fn the_deterministic_sampler_is_ddim_up_to_its_end() {
    let (model, none) = (denoiser(Schedule::default()), Inputs::default());
    for steps in [1, 2, 4, 8] {
        let grid = TimeGrid::uniform(steps);
        let ours = trajectory(|seen| deterministic(&model, row(&START), &none, &grid, seen));
        let other = trajectory(|seen| ddim(&model, row(&START), &none, &grid, seen));
        assert_eq!(ours[..steps], other[..steps]);
        let z = row(&ours[steps - 1]);
        let x = model.predict(z, &[1.0 / steps as f64], &none).x();
        assert_eq!(ours[steps], values(x));
        assert_ne!(ours[steps], other[steps]);
    }
}

/// In one dimension the flow keeps the order of points, so it maps quantiles to quantiles: the
/// share of the data below an image is the share of the noisy data below the noise that it came
/// from.
#[test]
fn the_flow_of_a_mixture_keeps_its_quantiles() {
    let parts = [(0.3, -0.7, 0.1), (0.7, 0.5, 0.2)].map(|(weight, mu, s)| Component {
        weight,
        gaussian: Gaussian { mu, s },
    });
    let schedule = Schedule::default();
    let model = MixtureDenoiser::new(schedule.clone(), Coupling::Pixel, &[parts.to_vec()]);
    let share_below = |z: f64, level: NoiseLevel| -> f64 {
        let part = |c: &Component| {
            let spread = c.gaussian.variance(level).sqrt();
            c.weight * normal_share_below((z - level.alpha() * c.gaussian.mu) / spread)
        };
        parts.iter().map(part).sum()
    };
    let grid = TimeGrid::uniform(512);
    let noise = [-1.5, -0.8, -0.4, 0.0, 0.7, 1.6];
    let images =
        ddim(&model, row(&noise), &Inputs::default(), &grid, &mut ignore).expect("not cancelled");
    for (noise, image) in noise.into_iter().zip(values(images)) {
        let before = share_below(noise, schedule.at(1.0));
        let after = share_below(image, schedule.at(0.0));
        assert!((before - after).abs() < 0.01, "{before} became {after}");
    }
}

/// Φ(x) by Simpson's rule from −8.
fn normal_share_below(x: f64) -> f64 {
    let density = |u: f64| (-u * u / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let parts = 2000;
    let width = (x + 8.0) / f64::from(parts);
    let sum: f64 = (0..=parts)
        .map(|i| {
            let weight = match i {
                0 => 1.0,
                i if i == parts => 1.0,
                i => 2.0 + 2.0 * f64::from(i % 2),
            };
            weight * density(-8.0 + f64::from(i) * width)
        })
        .sum();
    sum * width / 3.0
}
