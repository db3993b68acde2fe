//! Losses and gradients by hand.

use super::*;
use crate::method::matching::{DistributionMatching, FakeScore};
use crate::method::{Batch, FAKE_SCORE, LossWeighting, Objective, Peer, STUDENT};
use fewstep_diffusion::analytic::Gaussian;
use fewstep_diffusion::random::{self, Purpose};

const HEADS: usize = 2;

const PENALTY: Penalty = Penalty {
    weight: 3.0,
    noise: 0.2,
};

const LEARNT: Discrimination = Discrimination {
    times: [0.02, 0.98],
    penalty: PENALTY,
};

/// Timesteps 1 to 5 of 6 are in [0.02, 0.98].
fn timestep_of(u: f64) -> usize {
    1 + (u * 5.0) as usize
}

/// What a logit is linear in.
fn features(w: f64, z: &[f64]) -> [f64; COLUMNS] {
    let sum: f64 = z.iter().sum();
    let squares: f64 = z.iter().map(|z| z * z).sum();
    [1.0, w, w * w, sum, w * sum, squares, w * squares]
}

fn coefficients(table: &[f64], head: usize, sample: &Sample) -> [f64; COLUMNS] {
    let row = COLUMNS * Quadratic::row(head, sample.timestep, sample.class);
    table[row..][..COLUMNS].try_into().expect("a row")
}

fn logit(table: &[f64], head: usize, sample: &Sample, z: &[f64]) -> f64 {
    let row = coefficients(table, head, sample);
    let products = row.iter().zip(features(sample.w, z));
    products.map(|(c, f)| c * f).sum()
}

fn diffused(sample: &Sample, images: &[f64]) -> Vec<f64> {
    let level = level(sample.timestep);
    let pixels = images.iter().zip(&sample.noise);
    pixels
        .map(|(x, noise)| level.alpha() * x + level.sigma() * noise)
        .collect()
}

/// w (x̂_c − x̂_∅) of a pixel.
fn pull(sample: &Sample, z: f64) -> f64 {
    let level = level(sample.timestep);
    let best = |mu: f64| {
        let (a, b) = Gaussian { mu, s: WIDTH }.velocity(level);
        image(level, z, a * z + b)
    };
    sample.w * (best(MEANS[sample.class]) - best(MEAN_OF_ALL))
}

fn adversarial(steps: usize) -> Adversarial<impl fewstep_diffusion::Denoiser> {
    Adversarial {
        teacher: teacher(),
        simulation: simulation(steps),
        times: [0.02, 0.98],
    }
}

/// Value and gradient of the student's loss: signs, the weight of the level, the factor of the noise's
/// chain rule, and guidance.
#[test]
fn the_student_rises_with_the_logits_and_with_guidance() {
    let (student, judge) = (Lines::shaken(0.0), Quadratic::shaken(HEADS));
    let table = values(judge.table());
    let judge = model(judge);
    let peer = Peer {
        name: DISCRIMINATOR,
        model: &judge,
    };
    for (steps, clock) in [(1, 0), (3, 0), (3, 40), (3, 80)] {
        let batch = batch(clock, 12, [1, 1, PIXELS]);
        let (losses, in_table) = losses_and_gradient(&adversarial(steps), &student, peer, &batch);
        let samples = by_hand(&batch, steps, &student.values(), timestep_of);
        let mut expected_losses = vec![];
        let mut expected = vec![0.0; student.values().len()];
        for sample in &samples {
            let at = level(sample.timestep);
            let x_t = diffused(sample, &sample.x);
            let logits = (0..HEADS).map(|head| logit(&table, head, sample, &x_t));
            expected_losses.push(-at.sigma().powi(2) * mean(logits));
            let row = 4 * Lines::row(sample.step, sample.class);
            for (x_t, z) in x_t.iter().zip(&sample.z) {
                let slopes = (0..HEADS).map(|head| {
                    let [_, _, _, b, b_w, a, a_w] = coefficients(&table, head, sample);
                    b + sample.w * b_w + 2.0 * (a + sample.w * a_w) * x_t
                });
                let of_x = -at.sigma().powi(2) * at.alpha() * mean(slopes)
                    - at.alpha().powi(2) * pull(sample, *x_t);
                let of_v = -level(sample.step).sigma() * of_x / batch.len() as f64;
                let w = sample.w;
                for (k, factor) in [*z, w * z, 1.0, w].into_iter().enumerate() {
                    expected[row + k] += of_v * factor;
                }
            }
        }
        assert_close(&losses, &expected_losses, "loss");
        assert_close(&in_table, &expected, "gradient");
    }
}

/// A batch with images that a discriminator looks at.
fn with_images(clock: u64) -> (Batch, Vec<Vec<f64>>) {
    let batch = batch(clock, 12, [1, 1, PIXELS]);
    let samples: Vec<u64> = (clock..clock + 12).collect();
    let shape = [1, 1, PIXELS];
    let images = random::normal(77, &samples, Purpose::InitialNoise, shape, &Device::flex());
    let pixels = values(images.clone());
    let rows = pixels.chunks(PIXELS).map(<[f64]>::to_vec).collect();
    (Batch { images, ..batch }, rows)
}

/// The discriminator's loss: which images are real, the labels and w of both, and the penalty.
#[test]
fn the_discriminator_tells_images_apart() {
    let (student, judge) = (Lines::shaken(0.0), Quadratic::shaken(HEADS));
    let table = values(judge.table());
    let generator = model(student.clone());
    let peer = Peer {
        name: STUDENT,
        model: &generator,
    };
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let softplus = |x: f64| (1.0 + x.exp()).ln();
    for (steps, clock) in [(1, 0), (3, 40)] {
        let objective = Discriminating {
            simulation: simulation(steps),
            learnt: LEARNT,
        };
        let (batch, real) = with_images(clock);
        let (losses, in_table) = losses_and_gradient(&objective, &judge, peer, &batch);
        let samples = by_hand(&batch, steps, &student.values(), timestep_of);
        let mut expected_losses = vec![];
        let mut expected = vec![0.0; table.len()];
        for (index, (sample, real)) in samples.iter().zip(&real).enumerate() {
            let (x_t, y_t) = (diffused(sample, real), diffused(sample, &sample.x));
            let number = [clock + index as u64];
            let shape = [1, 1, PIXELS];
            let n = random::normal(SEED, &number, Purpose::Perturbation, shape, &Device::flex());
            let moved = x_t
                .iter()
                .zip(values(n))
                .map(|(x, n)| x + PENALTY.noise * n);
            let moved: Vec<f64> = moved.collect();
            let of_heads = (0..HEADS).map(|head| {
                let ask = |z: &[f64]| logit(&table, head, sample, z);
                let [of_real, of_fake, of_moved] = [&x_t, &y_t, &moved].map(|z| ask(z));
                let apart = of_real - of_moved;
                let row = COLUMNS * Quadratic::row(head, sample.timestep, sample.class);
                let share = 1.0 / (HEADS * samples.len()) as f64;
                let slopes = [
                    (-sigmoid(-of_real) + 2.0 * PENALTY.weight * apart, &x_t),
                    (sigmoid(of_fake), &y_t),
                    (-2.0 * PENALTY.weight * apart, &moved),
                ];
                for (slope, z) in slopes {
                    for (k, feature) in features(sample.w, z).into_iter().enumerate() {
                        expected[row + k] += share * slope * feature;
                    }
                }
                softplus(-of_real) + softplus(of_fake) + PENALTY.weight * apart * apart
            });
            expected_losses.push(mean(of_heads));
        }
        assert_close(&losses, &expected_losses, "loss");
        assert_close(&in_table, &expected, "gradient");
    }
}

/// A fake score with heads.
#[derive(Module, Debug)]
struct Judging {
    lines: Lines,
    heads: Quadratic,
}

impl Network for Judging {
    fn forward(&self, z: Tensor<4>, time: &[f64], inputs: &Inputs) -> Tensor<4> {
        self.lines.forward(z, time, inputs)
    }

    fn logits(&self, z: Tensor<4>, time: &[f64], inputs: &Inputs) -> Option<Tensor<2>> {
        self.heads.logits(z, time, inputs)
    }
}

/// The table of the heads.
impl Tabled for Judging {
    fn table(&self) -> Tensor<2> {
        self.heads.table()
    }
}

fn plus(a: &[f64], b: &[f64], factor: f64) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + factor * b).collect()
}

/// The GAN term of distribution matching is this method's loss at the same noise, in its share.
#[test]
fn matching_adds_its_share_of_the_students_loss() {
    let (student, heads) = (Lines::shaken(0.0), Quadratic::shaken(HEADS));
    let lines = Lines::shaken(0.9);
    let judge = model(Judging { lines, heads });
    let batch = batch(40, 12, [1, 1, PIXELS]);
    let of = |objective: &dyn Objective, name| {
        let peer = Peer {
            name,
            model: &judge,
        };
        losses_and_gradient(objective, &student, peer, &batch)
    };
    let matching = |gan| DistributionMatching {
        teacher: teacher(),
        simulation: simulation(3),
        times: [0.02, 0.98],
        gan,
    };
    let (term, of_term) = of(&adversarial(3), DISCRIMINATOR);
    let (without, of_without) = of(&matching(0.0), FAKE_SCORE);
    let (with, of_with) = of(&matching(0.3), FAKE_SCORE);
    assert_close(&with, &plus(&without, &term, 0.3), "loss");
    assert_close(&of_with, &plus(&of_without, &of_term, 0.3), "gradient");
}

/// The fake score's heads learn what this method's discriminator does, in their share, while it
/// denoises the student's images as before.
#[test]
fn the_fake_scores_heads_learn_their_share() {
    let (lines, heads) = (Lines::shaken(0.9), Quadratic::shaken(HEADS));
    let generator = model(Lines::shaken(0.0));
    let peer = Peer {
        name: STUDENT,
        model: &generator,
    };
    let (batch, _) = with_images(40);
    let score = |gan| FakeScore {
        simulation: simulation(3),
        weighting: LossWeighting::Snr,
        gan,
    };
    let judging = Judging {
        lines: lines.clone(),
        heads: heads.clone(),
    };
    let discriminating = Discriminating {
        simulation: simulation(3),
        learnt: LEARNT,
    };
    let (term, of_term) = losses_and_gradient(&discriminating, &heads, peer, &batch);
    let (without, _) = losses_and_gradient(&score(None), &lines, peer, &batch);
    let both = score(Some((0.2, LEARNT)));
    let (with, of_with) = losses_and_gradient(&both, &judging, peer, &batch);
    assert_close(&with, &plus(&without, &term, 0.2), "loss");
    let nothing = vec![0.0; of_term.len()];
    assert_close(&of_with, &plus(&nothing, &of_term, 0.2), "gradient");
}
