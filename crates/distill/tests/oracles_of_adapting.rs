//! Adapting a student whose teacher now knows other Gaussians, whose student is known in closed
//! form.

mod gaussians;

use fewstep_diffusion::analytic::{Gaussian, GaussianDenoiser};
use fewstep_diffusion::{DiffusionModel, Schedule};
use fewstep_distill::method::{Adapt, Denoising, GuidanceWeights, LossWeighting};
use gaussians::{ALL, CLASSES, Linear, composed, discrete, distil, line};

/// What the student was distilled for, before its teacher learnt [`CLASSES`].
const OLD: [Gaussian; 2] = [Gaussian { mu: -0.5, s: 0.6 }, Gaussian { mu: 0.2, s: 0.25 }];

const STEPS: usize = 2;
const SUBSTEPS: usize = 3;

fn following(classes: [Gaussian; 2]) -> Adapt<GaussianDenoiser> {
    Adapt {
        teacher: GaussianDenoiser::new(discrete(), classes.to_vec(), ALL),
        steps: STEPS,
        substeps: SUBSTEPS,
        weights: Some(GuidanceWeights::Single(0.0)),
        weighting: LossWeighting::SnrPlusOne,
    }
}

/// The times of a grid from noise to image.
fn grid(steps: usize) -> Vec<f64> {
    (0..=steps).rev().map(|i| i as f64 / steps as f64).collect()
}

/// Standard deviation and mean of a class's images: the student's steps composed, as slope and
/// offset on the noise.
fn moments(student: &DiffusionModel<Linear>, schedule: &Schedule, class: u32) -> (f64, f64) {
    let times = grid(STEPS);
    let level = |t: f64| match t {
        0.0 => fewstep_diffusion::NoiseLevel::CLEAN,
        _ => schedule.at(t),
    };
    times.windows(2).fold((1.0, 0.0), |(slope, offset), pair| {
        let (a, b) = line(student, pair[0], Some(class), 0.0);
        let (sin, cos) = (level(pair[1]).angle - level(pair[0]).angle).sin_cos();
        ((cos + sin * a) * slope, (cos + sin * a) * offset + sin * b)
    })
}

fn apart(a: (f64, f64), b: (f64, f64)) -> f64 {
    (a.0 - b.0).abs().max((a.1 - b.1).abs())
}

/// The images of an adapted student have the moments that six steps of the changed teacher give in
/// two. Ordinary fine-tuning on the same images gives those of two steps of the teacher, which are
/// far too alike.
#[test]
fn an_adapted_student_has_the_moments_of_the_changed_teacher() {
    let schedule = discrete();
    let times = (0..6).map(f64::from).collect();
    let student = distil(
        Linear::new(times),
        schedule.clone(),
        &following(OLD),
        400,
        0.05,
    );
    let adapted = distil(
        student.network.clone(),
        schedule.clone(),
        &following(CLASSES),
        400,
        0.05,
    );
    let ordinary = Denoising {
        weighting: LossWeighting::SnrPlusOne,
        label_dropout: 0.0,
        drops_source: false,
        weights: None,
    };
    let fine_tuned = distil(
        student.network.clone(),
        schedule.clone(),
        &ordinary,
        600,
        0.05,
    );
    for (class, &gaussian) in CLASSES.iter().enumerate() {
        let of = |student| moments(student, &schedule, class as u32);
        let old = composed(OLD[class], &schedule, &grid(STEPS * SUBSTEPS));
        assert!(apart(of(&student), old) < 0.02, "before, class {class}");
        let new = composed(gaussian, &schedule, &grid(STEPS * SUBSTEPS));
        let ours = of(&adapted);
        assert!(
            apart(ours, new) < 0.02,
            "class {class}: {ours:?} for {new:?}"
        );
        let two_steps = composed(gaussian, &schedule, &grid(STEPS));
        let broken = of(&fine_tuned);
        assert!(
            apart(broken, two_steps) < 0.03,
            "class {class}: {broken:?} for {two_steps:?}"
        );
        assert!(
            broken.0 < 0.85 * ours.0,
            "class {class}: {broken:?} next to {ours:?}"
        );
    }
}
