//! Halvings against the formulas of the papers, and what the teacher is given.

use super::*;
use burn::tensor::Device;
use fewstep_diffusion::analytic::{Component, Coupling, Gaussian, MixtureDenoiser};
use fewstep_diffusion::random::{self, Purpose};
use fewstep_diffusion::{Prediction, PredictionKind, Schedule};

const BATCH: usize = 6;

/// A teacher that is not linear in z.
fn teacher() -> MixtureDenoiser {
    let part = |mu, s| Component {
        weight: 1.0,
        gaussian: Gaussian { mu, s },
    };
    let classes = [vec![part(-0.7, 0.1), part(0.4, 0.2)]];
    MixtureDenoiser::new(Schedule::default(), Coupling::Pixel, &classes)
}

fn halving(halving: Halving, steps: usize) -> Progressive<MixtureDenoiser> {
    Progressive {
        teacher: teacher(),
        steps,
        halving,
        target: TargetForm::Velocities,
        weights: Some(GuidanceWeights::Single(0.0)),
        weighting: LossWeighting::TruncatedSnr,
    }
}

fn noise() -> Tensor<4> {
    let samples: Vec<u64> = (0..BATCH as u64).collect();
    random::normal(
        1,
        &samples,
        Purpose::TrainingNoise,
        [1, 2, 2],
        &Device::flex(),
    )
}

fn inputs() -> Inputs {
    Inputs::classes(vec![0; BATCH])
}

fn assert_close(a: Tensor<4>, b: Tensor<4>, tolerance: f32, what: &str) {
    let difference = (a - b).abs().max().into_scalar::<f32>();
    assert!(difference < tolerance, "{what}: off by {difference}");
}

/// The student's single step along the target lands where the teacher's two steps do.
#[test]
fn one_step_lands_where_two_do() {
    for kind in [
        Halving::Deterministic,
        Halving::Stochastic,
        Halving::Encoder,
    ] {
        let method = halving(kind, 4);
        for index in 0..4 {
            let path = method.path(index);
            let z_t = noise();
            let target = method.target(&z_t, &[path; BATCH], &inputs());
            let schedule = method.teacher.schedule();
            let student = Prediction::new(
                PredictionKind::V,
                target,
                z_t.clone(),
                vec![schedule.at(path.start); BATCH],
            );
            let middle = vec![schedule.at(path.middle); BATCH];
            let first = method.teacher.predict(z_t, &[path.start; BATCH], &inputs());
            let z_middle = first.ddim(&middle);
            let times = vec![path.middle; BATCH];
            let second = method.teacher.predict(z_middle, &times, &inputs());
            let ends = vec![path.end; BATCH];
            let what = format!("{kind:?}, grid point {index}");
            assert_close(student.ddim(&ends), second.ddim(&ends), 1e-5, &what);
        }
    }
}

/// Both forms of the target are the same number, at every grid point of every kind of halving. Where
/// steps are short, the difference of the ends of two steps loses digits.
#[test]
fn targets_from_velocities_are_exact() {
    let both = |kind, steps, index: usize| {
        let mut method = halving(kind, steps);
        let paths = [method.path(index); BATCH];
        let velocities = method.target(&noise(), &paths, &inputs());
        method.target = TargetForm::Difference;
        (velocities, method.target(&noise(), &paths, &inputs()))
    };
    for kind in [
        Halving::Deterministic,
        Halving::Stochastic,
        Halving::Encoder,
    ] {
        for index in 0..4 {
            let (a, b) = both(kind, 4, index);
            assert_close(a, b, 1e-5, &format!("{kind:?}, grid point {index}"));
        }
    }
    // Two steps of an 8192nd, whose ends are nearly the same: against the difference in 64 bits.
    let (steps, index) = (4096, 2047);
    let (exact, difference) = both(Halving::Deterministic, steps, index);
    let method = halving(Halving::Deterministic, steps);
    let path = method.path(index);
    let schedule = method.teacher.schedule();
    let (start, middle) = (schedule.at(path.start), schedule.at(path.middle));
    let velocity = |z: Tensor<4>, t| method.teacher.predict(z, &[t; BATCH], &inputs());
    let first = velocity(noise(), path.start);
    let second = velocity(first.ddim(&[middle; BATCH]), path.middle);
    let values = |tensor: Tensor<4>| -> Vec<f64> {
        let values: Vec<f32> = tensor.into_data().try_to_vec().expect("f32 data");
        values.into_iter().map(f64::from).collect()
    };
    let [z, v_1, v_2, exact, difference] =
        [noise(), first.v(), second.v(), exact, difference].map(values);
    let (one, two) = (middle.angle - start.angle, path.end.angle - middle.angle);
    let target = |k: usize| {
        let z_middle = one.cos() * z[k] + one.sin() * v_1[k];
        let z_end = two.cos() * z_middle + two.sin() * v_2[k];
        (z_end - (one + two).cos() * z[k]) / (one + two).sin()
    };
    let error = |found: &[f64]| {
        let errors = (0..z.len()).map(|k| (found[k] - target(k)).abs());
        errors.fold(0.0, f64::max)
    };
    let (exact, difference) = (error(&exact), error(&difference));
    assert!(
        exact < 1e-5 && 10.0 * exact < difference,
        "{exact}, {difference}"
    );
}

/// x̃ = α_t z_t − σ_t ṽ is the papers' (z_{t''} − (σ_{t''}/σ_t) z_t) / (α_{t''} − (σ_{t''}/σ_t)
/// α_t).
#[test]
fn the_velocity_form_is_the_papers_formula() {
    let method = halving(Halving::Deterministic, 4);
    let path = method.path(2);
    let z_t = noise();
    let target = method.target(&z_t, &[path; BATCH], &inputs());
    let (t, end) = (method.teacher.schedule().at(path.start), path.end);
    let middle = vec![method.teacher.schedule().at(path.middle); BATCH];
    let first = method
        .teacher
        .predict(z_t.clone(), &[path.start; BATCH], &inputs());
    let times = vec![path.middle; BATCH];
    let second = method
        .teacher
        .predict(first.ddim(&middle), &times, &inputs());
    let z_end = second.ddim(&[end; BATCH]);
    let ratio = end.sigma() / t.sigma();
    let papers = (z_end - z_t.clone() * ratio) / (end.alpha() - ratio * t.alpha());
    assert_close(z_t * t.alpha() - target * t.sigma(), papers, 1e-4, "x̃");
}

/// The first grid point learns the teacher's own x̂: after half a step (deterministic), at once
/// (stochastic).
#[test]
fn the_last_step_learns_the_teachers_image() {
    for (kind, middle) in [(Halving::Deterministic, 0.125), (Halving::Stochastic, 0.25)] {
        let method = halving(kind, 4);
        let path = method.path(0);
        assert_eq!(
            (path.start, path.middle, path.end),
            (0.25, middle, NoiseLevel::CLEAN)
        );
        let z_t = noise();
        let target = method.target(&z_t, &[path; BATCH], &inputs());
        let t = method.teacher.schedule().at(path.start);
        let first = method
            .teacher
            .predict(z_t.clone(), &[path.start; BATCH], &inputs());
        let z = first.ddim(&[method.teacher.schedule().at(middle); BATCH]);
        let expected = method.teacher.predict(z, &[middle; BATCH], &inputs()).x();
        let x_tilde = z_t * t.alpha() - target * t.sigma();
        assert_close(x_tilde, expected, 1e-4, &format!("{kind:?}"));
    }
}

/// Answers as the teacher, and records what it is given.
struct Witness {
    teacher: MixtureDenoiser,
    seen: std::sync::Mutex<Vec<(f64, Vec<f32>)>>,
}

impl Denoiser for Witness {
    fn predict(&self, z: Tensor<4>, t: &[f64], inputs: &Inputs) -> Prediction {
        let values: Vec<f32> = z.clone().into_data().try_to_vec().expect("f32 data");
        let samples = values.chunks_exact(values.len() / t.len());
        let seen = t.iter().zip(samples).map(|(&t, z)| (t, z.to_vec()));
        self.seen.lock().expect("unpoisoned").extend(seen);
        self.teacher.predict(z, t, inputs)
    }
    fn schedule(&self) -> &Schedule {
        self.teacher.schedule()
    }
}

/// What an encoder sees at t = 0 is the image to the bit, whatever noise the schedule has there;
/// later it is not.
#[test]
fn an_encoder_starts_at_the_image_itself() {
    let schedule = Schedule::new(fewstep_diffusion::ScheduleConfig::Discrete {
        betas: fewstep_diffusion::BetaSchedule::ScaledLinear,
        beta_start: 0.00085,
        beta_end: 0.012,
        steps: 1000,
        zero_terminal_snr: false,
        clean_end: false,
    })
    .expect("valid");
    assert!(schedule.at(0.0).sigma() > 0.02);
    let part = Component {
        weight: 1.0,
        gaussian: Gaussian { mu: 0.2, s: 0.3 },
    };
    let teacher = || MixtureDenoiser::new(schedule.clone(), Coupling::Pixel, &[vec![part]]);
    let witness = Witness {
        teacher: teacher(),
        seen: Default::default(),
    };
    let method = Progressive {
        teacher: teacher(),
        steps: 2,
        halving: Halving::Encoder,
        target: TargetForm::Velocities,
        weights: Some(GuidanceWeights::Single(0.0)),
        weighting: LossWeighting::TruncatedSnr,
    };
    let batch = Batch {
        images: noise(),
        inputs: inputs(),
        clock: 0,
        update: 0,
    };
    let student = Student {
        online: &witness,
        target: &witness,
        others: &[],
    };
    method.loss(student, &batch, 3);
    let images: Vec<f32> = noise().into_data().try_to_vec().expect("f32 data");
    let seen = witness.seen.into_inner().expect("unpoisoned");
    let starts = seen.iter().filter(|(t, _)| *t == 0.0).count();
    assert!(
        0 < starts && starts < BATCH,
        "{starts} of {BATCH} start at the image"
    );
    for ((t, z), image) in seen.iter().zip(images.chunks_exact(4)) {
        assert_eq!(*t == 0.0, z == image, "t = {t}");
    }
}

/// Jumps of the stochastic variant are twice as long, and the one from 2/N ends at 0.
#[test]
fn stochastic_jumps_are_twice_as_long() {
    let method = halving(Halving::Stochastic, 4);
    let path = method.path(3);
    assert_eq!((path.start, path.middle), (1.0, 0.75));
    assert_eq!(path.end, method.teacher.schedule().at(0.5));
    assert_eq!(method.path(1).end, NoiseLevel::CLEAN);
}
