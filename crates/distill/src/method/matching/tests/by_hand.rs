//! Losses and gradients by hand.

use super::*;
use crate::method::{Peer, STUDENT, Student};
use fewstep_diffusion::NoiseLevel;
use fewstep_diffusion::random::{self, Purpose};

/// One sample by hand.
struct Sample {
    class: usize,
    w: f64,
    timestep: usize,
    noise: Vec<f64>,
    /// The student's step that counts, what it starts from there, and its image.
    step: usize,
    z: Vec<f64>,
    x: Vec<f64>,
}

fn level(timestep: usize) -> NoiseLevel {
    schedule().at(timestep as f64 / TIMESTEPS as f64)
}

/// v̂ of a table.
fn velocity(table: &[f64], timestep: usize, (class, w): (usize, f64), z: f64) -> f64 {
    let row = &table[4 * Lines::row(timestep, class)..][..4];
    (row[0] + w * row[1]) * z + row[2] + w * row[3]
}

fn image(level: NoiseLevel, z: f64, v: f64) -> f64 {
    level.alpha() * z - level.sigma() * v
}

const PIXELS: usize = 3;

/// What the student generates for each sample; `timestep_of` makes a timestep of a uniform number.
fn by_hand(
    batch: &Batch,
    steps: usize,
    student: &[f64],
    timestep_of: fn(f64) -> usize,
) -> Vec<Sample> {
    let drawn = random::uniform(SEED, batch.update, Purpose::SimulatedStep);
    let step = steps - (drawn * steps as f64) as usize;
    let device = Device::flex();
    let samples = (0..batch.len()).map(|index| {
        let clock = batch.clock + index as u64;
        let normal = |purpose| {
            let numbers = random::normal(SEED, &[clock], purpose, [1, 1, PIXELS], &device);
            values(numbers)
        };
        let class = index % CLASSES;
        let w = -0.5 + 2.5 * random::uniform(SEED, clock, Purpose::GuidanceWeight);
        let mut z = normal(Purpose::InitialNoise);
        let timestep = |step: usize| step * TIMESTEPS / steps;
        for earlier in (step + 1..=steps).rev() {
            let (from, to) = (level(timestep(earlier)), level(timestep(earlier - 1)));
            z = z
                .iter()
                .map(|&z| {
                    let v = velocity(student, timestep(earlier), (class, w), z);
                    let x = image(from, z, v).clamp(-1.0, 1.0);
                    to.alpha() * x + to.sigma() * (z - from.alpha() * x) / from.sigma()
                })
                .collect();
        }
        let of = |&z: &f64| {
            let v = velocity(student, timestep(step), (class, w), z);
            image(level(timestep(step)), z, v)
        };
        Sample {
            class,
            w,
            timestep: timestep_of(random::uniform(SEED, clock, Purpose::TrainingTime)),
            noise: normal(Purpose::TrainingNoise),
            step: timestep(step),
            x: z.iter().map(of).collect(),
            z,
        }
    });
    samples.collect()
}

/// g of each pixel by hand, with the fake score's table.
fn gradient(sample: &Sample, fake: &[f64]) -> Vec<f64> {
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
        let real = with + w * (with - without);
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

fn assert_close(ours: &[f64], expected: &[f64], what: &str) {
    assert_eq!(ours.len(), expected.len());
    for (index, (ours, expected)) in ours.iter().zip(expected).enumerate() {
        let error = (ours - expected).abs();
        let allowed = 2e-4 * (1.0 + expected.abs());
        assert!(error < allowed, "{what} {index}: {ours} for {expected}");
    }
}

/// Losses of the samples, and the gradient of their mean in the table of the network.
fn losses_and_gradient(
    objective: &dyn Objective,
    network: &Lines,
    peer: Peer<'_>,
    batch: &Batch,
) -> (Vec<f64>, Vec<f64>) {
    let online = model(network.clone().unfreeze().train());
    let student = Student {
        online: &online,
        target: &model(network.clone()),
        others: &[peer],
    };
    let loss = objective.loss(student, batch, SEED).per_sample;
    let gradients = loss.clone().mean().backward();
    let gradient = online.network.table.val().grad(&gradients).expect("moved");
    (values(loss.inner()), values(gradient))
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
    for (steps, clock) in [(1, 0), (3, 0), (3, 40), (3, 80), (3, 120)] {
        let batch = batch(clock, 12, [1, 1, PIXELS]);
        let (losses, in_table) = losses_and_gradient(&matching(steps), &student, peer, &batch);
        // Timesteps 1 to 5 of 6 are in [0.02, 0.98].
        let samples = by_hand(&batch, steps, &student.values(), |u| 1 + (u * 5.0) as usize);
        let mut expected_losses = vec![];
        let mut expected = vec![0.0; student.values().len()];
        for sample in &samples {
            let g = gradient(sample, &fake.values());
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
