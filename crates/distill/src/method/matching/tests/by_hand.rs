//! Losses and gradients by hand.

use super::*;
use crate::method::{Peer, STUDENT};
use fewstep_diffusion::analytic::Gaussian;

/// g of each pixel by hand, with the fake score's table, for a teacher guided by w times a factor.
fn gradient(sample: &Sample, fake: &[f64], factor: f64) -> Vec<f64> {
    let level = level(sample.timestep);
    let best = |mu: f64, z: f64| {
        let (a, b) = Gaussian { mu, s: WIDTH }.velocity(level);
        image(level, z, a * z + b)
    };
    let (class, w) = (sample.class, sample.w);
    let pixels = sample.x.iter().zip(&sample.noise).map(|(&x, &noise)| {
        let x_t = level.alpha() * x + level.sigma() * noise;
        let v = velocity(fake, sample.timestep, (class, w), x_t);
        let (with, without) = (best(MEANS[class], x_t), best(MEAN_OF_ALL, x_t));
        let real = with + factor * w * (with - without);
        (image(level, x_t, v), real)
    });
    let pixels: Vec<_> = pixels.collect();
    let distances = sample.x.iter().zip(&pixels);
    let scale = mean(distances.map(|(x, (_, real))| (x - real).abs()));
    pixels
        .iter()
        .map(|(fake, real)| (fake - real) / scale)
        .collect()
}

/// Value and gradient of the student's loss: the sign of g, which score is real, the normaliser of
/// each image, and that no gradient goes through anything but x̂ of the step that counts.
#[test]
fn the_students_gradient_is_that_of_the_paper() {
    let (student, fake) = (Lines::shaken(0.0), Lines::shaken(0.9));
    let scores = model(fake.clone());
    let peer = Peer {
        name: FAKE_SCORE,
        model: &scores,
    };
    for (steps, clock, factor) in [
        (1, 0, 1.0),
        (1, 0, 0.7),
        (3, 0, 1.0),
        (3, 40, 1.3),
        (3, 80, 1.0),
        (3, 120, 1.0),
    ] {
        let batch = batch(clock, 12, [1, 1, PIXELS]);
        let objective = matching(steps, factor);
        let (losses, in_table) = losses_and_gradient(&objective, &student, peer, &batch);
        // Timesteps 1 to 5 of 6 are in [0.02, 0.98].
        let samples = by_hand(&batch, steps, &student.values(), |u| 1 + (u * 5.0) as usize);
        let mut expected_losses = vec![];
        let mut expected = vec![0.0; student.values().len()];
        for sample in &samples {
            let g = gradient(sample, &fake.values(), factor);
            expected_losses.push(0.5 * mean(g.iter().map(|g| g * g)));
            let row = 4 * Lines::row(sample.step, sample.class);
            for (g, z) in g.iter().zip(&sample.z) {
                let of_v = -level(sample.step).sigma() * g / (PIXELS * batch.len()) as f64;
                for (k, factor) in [*z, sample.w * z, 1.0, sample.w].into_iter().enumerate() {
                    expected[row + k] += of_v * factor;
                }
            }
        }
        assert_close(&losses, &expected_losses, "loss");
        assert_close(&in_table, &expected, "gradient");
    }
}

/// The fake score's loss is that of denoising the student's images, with their w, and not the data.
#[test]
fn the_fake_score_learns_the_students_images() {
    let (student, fake) = (Lines::shaken(0.0), Lines::shaken(0.9));
    let generator = model(student.clone());
    let peer = Peer {
        name: STUDENT,
        model: &generator,
    };
    for (steps, clock) in [(1, 0), (3, 0), (3, 40), (3, 80)] {
        let objective = FakeScore {
            simulation: simulation(steps),
            weighting: LossWeighting::Snr,
            gan: None,
        };
        let batch = batch(clock, 12, [1, 1, PIXELS]);
        let (losses, in_table) = losses_and_gradient(&objective, &fake, peer, &batch);
        let samples = by_hand(&batch, steps, &student.values(), |u| 1 + (u * 6.0) as usize);
        let mut expected_losses = vec![];
        let mut expected = vec![0.0; fake.values().len()];
        for sample in &samples {
            let level = level(sample.timestep);
            let row = 4 * Lines::row(sample.timestep, sample.class);
            let errors = sample.x.iter().zip(&sample.noise).map(|(&x, &noise)| {
                let x_t = level.alpha() * x + level.sigma() * noise;
                let v = velocity(
                    &fake.values(),
                    sample.timestep,
                    (sample.class, sample.w),
                    x_t,
                );
                (x_t, v - (level.alpha() * noise - level.sigma() * x))
            });
            let errors: Vec<(f64, f64)> = errors.collect();
            let weight = level.alpha().powi(2);
            expected_losses.push(weight * mean(errors.iter().map(|(_, error)| error * error)));
            for (x_t, error) in errors {
                let of_v = 2.0 * weight * error / (PIXELS * batch.len()) as f64;
                for (k, factor) in [x_t, sample.w * x_t, 1.0, sample.w].into_iter().enumerate() {
                    expected[row + k] += of_v * factor;
                }
            }
        }
        assert_close(&losses, &expected_losses, "loss");
        assert_close(&in_table, &expected, "gradient");
    }
}
