//! Conditional and consistency distillation where the answer is known in closed form: a Gaussian
//! prior, a condition that is linear in the image, and students linear in (z, c) with coefficients
//! for every time.

mod common;
mod lines;

use common::{BATCH, Table, batch, image, linear, objective_loss, train};
use fewstep_diffusion::analytic::{Gaussian, GaussianDenoiser};
use fewstep_diffusion::{NoiseLevel, Schedule};
use fewstep_distill::method::{
    Boundary, Codi, Consistency, ConsistencyTarget, Distance, GuidanceWeights, LossWeighting,
    Objective, OdeModel, OdeNoise, OdeStep, Solver, TimePairs, Times,
};
use lines::{
    INTERVALS, Line, PRIOR, SLOPE, Z, apart, assert_close, combine, fixed_point, learnt,
    posterior_mean,
};

fn prior() -> GaussianDenoiser {
    GaussianDenoiser::unconditional(Schedule::default(), PRIOR)
}

fn codi() -> Codi<GaussianDenoiser> {
    Codi::on_grid(INTERVALS, OdeStep::Online)
}

fn distilled(method: &Codi<GaussianDenoiser>, noise: f64) -> Vec<Line> {
    let data = |clock| image(clock, PRIOR, Some((SLOPE, noise)));
    learnt(&train(linear(INTERVALS, 1), method, data, 700))
}

/// Without the consistency term the student is the optimal conditional model.
#[test]
fn guidance_alone_gives_the_posterior_mean() {
    let method = Codi {
        consistency: 0.0,
        ..codi()
    };
    let schedule = Schedule::default();
    let expected: Vec<Line> = (1..=INTERVALS)
        .map(|i| posterior_mean(schedule.at(i as f64 / INTERVALS as f64), 0.5))
        .collect();
    assert_close(&distilled(&method, 0.5), &expected, 0.02, "guidance alone");
    assert_close(
        &fixed_point(&method, 0.5),
        &expected,
        1e-9,
        "the oracle itself",
    );
}

/// A condition that tells the whole image: every reading of the method ends at that image, where
/// both terms are zero.
#[test]
fn a_condition_that_tells_all_is_believed() {
    for consistent in [ConsistencyTarget::Noise, ConsistencyTarget::Image] {
        let method = Codi {
            consistent,
            ..codi()
        };
        let expected = [[0.0, 1.0 / SLOPE, 0.0]; INTERVALS];
        let learnt = distilled(&method, 0.0);
        assert_close(&learnt, &expected, 0.03, &format!("{consistent:?}"));
    }
}

/// With a noisy condition each reading has a fixed point of its own, and the student reaches it.
#[test]
fn every_reading_reaches_its_fixed_point() {
    let mut seen: Vec<Vec<Line>> = vec![];
    for consistent in [ConsistencyTarget::Noise, ConsistencyTarget::Image] {
        for ode_noise in [OdeNoise::True, OdeNoise::Predicted] {
            for ode_model in [OdeModel::Online, OdeModel::Average, OdeModel::Base] {
                let method = Codi {
                    consistent,
                    ode_noise,
                    ode_step: ode_model.with(prior()),
                    ..codi()
                };
                let expected = fixed_point(&method, 0.5);
                let what = format!("{consistent:?} {ode_noise:?} {ode_model:?}");
                assert_close(&distilled(&method, 0.5), &expected, 0.02, &what);
                if ode_model != OdeModel::Average {
                    seen.push(expected);
                }
            }
        }
    }
    // The oracle tells the readings apart by more than the tolerance.
    for (other, what) in [
        (1, "online or base"),
        (3, "true or predicted"),
        (4, "noise or image"),
    ] {
        let nearest = if other == 3 { 1 } else { 0 };
        assert!(apart(&seen[nearest], &seen[other]) > 0.06, "{what}");
    }
}

/// The weights of both terms are those of the fixed point.
#[test]
fn the_terms_are_weighed() {
    let method = Codi {
        consistency: 4.0,
        guidance: 0.5,
        ..codi()
    };
    let expected = fixed_point(&method, 0.5);
    assert_close(&distilled(&method, 0.5), &expected, 0.02, "weights");
    assert!(apart(&expected, &fixed_point(&codi(), 0.5)) > 0.06);
}

/// At s = 0 there is no noise to be consistent with, and no boundary condition is put on ε̂: the
/// target there would be the image itself.
#[test]
fn noise_has_no_consistency_at_the_clean_end() {
    let one_step = |consistency, boundary| {
        let pairs = TimePairs {
            intervals: 1,
            times: Times::Grid,
            shared: true,
        };
        let method = Codi {
            pairs,
            consistency,
            boundary,
            ..codi()
        };
        objective_loss(
            &method,
            &linear(1, 1).shaken(),
            batch(0, image(0, PRIOR, Some((SLOPE, 0.5)))),
        )
    };
    let guidance = one_step(0.0, Boundary::Plain);
    assert!(guidance.iter().all(|&loss| loss > 0.0));
    assert_eq!(one_step(1.0, Boundary::Plain), guidance);
    assert_eq!(one_step(1.0, Boundary::Lcm), guidance);
}

/// The model of the ODE step is the one in training, not the one that training started from.
#[test]
fn the_online_step_moves_with_training() {
    let loss = |ode_model: OdeModel| {
        let method = Codi {
            ode_step: ode_model.with(prior()),
            ..codi()
        };
        objective_loss(
            &method,
            &linear(INTERVALS, 1).shaken(),
            batch(64, image(64, PRIOR, Some((SLOPE, 0.5)))),
        )
    };
    assert_ne!(loss(OdeModel::Online), loss(OdeModel::Base));
    // The average of a model without averaging is the model.
    assert_eq!(loss(OdeModel::Online), loss(OdeModel::Average));
}

/// Guidance inside the networks is (1 + w) conditional − w unconditional, in this order.
#[test]
fn guidance_inside_has_the_right_sign() {
    let w = 1.5;
    let two = linear(INTERVALS, 2).shaken();
    let mut one = linear(INTERVALS, 2);
    for index in 0..=INTERVALS {
        // Class 0 is the condition, class 1 stands for none.
        let (with, without) = (two.line(index, 0), two.line(index, 1));
        one.set(index, 0, combine(&[(1.0 + w, with), (-w, without)]));
    }
    let of = |student: &Table, weights| {
        let method = Codi { weights, ..codi() };
        let mut batch = batch(64, image(64, PRIOR, Some((SLOPE, 0.5))));
        batch.inputs.classes = Some(vec![Some(0); BATCH]);
        objective_loss(&method, student, batch)
    };
    let guided = of(&two, Some(GuidanceWeights::Single(w)));
    let combined = of(&one, None);
    for (a, b) in guided.iter().zip(&combined) {
        assert!((a - b).abs() < 1e-4 * (1.0 + b.abs()), "{a} for {b}");
    }
    assert_ne!(of(&two, None), combined);
}

/// No gradient flows through ẑ_s or into θ⁻: a frozen copy in both places gives the same gradient,
/// and a target that could have one gets none.
#[test]
fn gradients_stop_where_they_must() {
    for (consistent, ode_noise) in [
        (ConsistencyTarget::Noise, OdeNoise::True),
        (ConsistencyTarget::Noise, OdeNoise::Predicted),
        (ConsistencyTarget::Image, OdeNoise::True),
    ] {
        let student = linear(INTERVALS, 1).shaken();
        let frozen = Codi {
            pairs: codi().pairs,
            consistent,
            boundary: Boundary::Plain,
            ode_step: OdeStep::Base(common::model(student.clone())),
            ode_noise,
            distance: Distance::L2,
            consistency: 1.0,
            error_weight: LossWeighting::Uniform,
            guidance_distance: Distance::L2,
            guidance: 1.0,
            weights: None,
        };
        let online = Codi {
            consistent,
            ode_noise,
            ..codi()
        };
        let batch = || batch(64, image(64, PRIOR, Some((SLOPE, 0.5))));
        let (own, target) = common::gradients(&online, &student, batch());
        let (reference, _) = common::gradients(&frozen, &student, batch());
        assert!(
            target.is_none(),
            "{consistent:?}: the target has a gradient"
        );
        assert!(own.iter().any(|&g| g != 0.0));
        for (a, b) in own.iter().zip(&reference) {
            assert!(
                (a - b).abs() < 1e-6 * (1.0 + b.abs()),
                "{consistent:?} {ode_noise:?}: {a} for {b}"
            );
        }
    }
}

#[test]
fn costs_are_counted_by_calls() {
    let cost = |ode_model: OdeModel, consistency, weights| {
        let method = Codi {
            ode_step: ode_model.with(prior()),
            consistency,
            weights,
            ..codi()
        };
        let cost = method.cost();
        (cost.frozen, cost.trained)
    };
    assert_eq!(cost(OdeModel::Online, 1.0, None), (1, 1));
    assert_eq!(cost(OdeModel::Base, 1.0, None), (2, 1));
    assert_eq!(cost(OdeModel::Online, 0.0, None), (0, 1));
    assert_eq!(
        cost(OdeModel::Average, 1.0, Some(GuidanceWeights::Single(1.0))),
        (4, 2)
    );
}

const CLASSES: [Gaussian; 2] = [Gaussian { mu: 0.6, s: 0.3 }, Gaussian { mu: -0.4, s: 0.5 }];

fn consistency(solver: Solver) -> Consistency<GaussianDenoiser> {
    Consistency {
        teacher: GaussianDenoiser::new(Schedule::default(), CLASSES.to_vec(), PRIOR),
        pairs: TimePairs {
            intervals: INTERVALS,
            times: Times::Grid,
            shared: false,
        },
        solver,
        boundary: Boundary::Plain,
        distance: Distance::L2,
        error_weight: LossWeighting::Uniform,
        weights: None,
    }
}

/// Consistency distillation maps every point of a trajectory to where the teacher's steps end.
#[test]
fn consistency_maps_trajectories_to_their_ends() {
    let schedule = Schedule::default();
    let level = |index: usize| match index {
        0 => NoiseLevel::CLEAN,
        _ => schedule.at(index as f64 / INTERVALS as f64),
    };
    let data = |clock| image(clock, CLASSES[0], None);
    let student = train(linear(INTERVALS, 2), &consistency(Solver::Ddim), data, 700);
    let mut end: Line = Z;
    for index in 1..=INTERVALS {
        // One DDIM step down, then the map of the step below.
        let (a, b) = CLASSES[0].velocity(level(index));
        let delta = level(index - 1).angle - level(index).angle;
        let step = [delta.cos() + delta.sin() * a, 0.0, delta.sin() * b];
        end = [end[0] * step[0], 0.0, end[0] * step[2] + end[2]];
        let v = student.line(index, 0);
        let l = schedule.at(index as f64 / INTERVALS as f64);
        let ours = combine(&[(l.alpha(), Z), (-l.sigma(), v)]);
        let error = (ours[0] - end[0]).abs().max((ours[2] - end[2]).abs());
        assert!(
            error < 0.02,
            "t = {index}/{INTERVALS}: {ours:?} for {end:?}"
        );
    }
}

/// Heun's steps end nearer to the exact flow than DDIM's: the student of the same grid is nearer to
/// it.
#[test]
fn heun_steps_are_nearer_to_the_exact_flow() {
    let schedule = Schedule::default();
    let gaussian = CLASSES[0];
    let data = |clock| image(clock, gaussian, None);
    let error = |solver| {
        let student = train(linear(INTERVALS, 2), &consistency(solver), data, 500);
        let level = schedule.at(1.0);
        let slope = level.alpha() - level.sigma() * student.line(INTERVALS, 0)[0];
        // The exact flow takes z_1 ~ N(α μ, ·) to the data: a slope of s / √(α² s² + σ²).
        (slope - gaussian.s / gaussian.variance(level).sqrt()).abs()
    };
    let (ddim, heun) = (error(Solver::Ddim), error(Solver::Heun));
    assert!(heun < 0.03 && ddim > 3.0 * heun, "DDIM {ddim}, Heun {heun}");
}
