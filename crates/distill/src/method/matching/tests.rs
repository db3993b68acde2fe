//! Both losses by hand in 64 bits, and a student of Gaussian classes that ends at the guided
//! teacher's distribution.

use super::*;
use crate::method::{Batch, Peer, STUDENT, Student};
use crate::optim::{Ema, OptimConfig, PlayerState, Stepper};
use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};
use fewstep_diffusion::analytic::{Gaussian, GaussianDenoiser};
use fewstep_diffusion::random::{self, Purpose};
use fewstep_diffusion::{
    BetaSchedule, CfgDenoiser, Inputs, Network, NoiseLevel, PredictionKind, Schedule,
    ScheduleConfig, TimeGrid, per_sample, sampler,
};

const SEED: u64 = 3;
const TIMESTEPS: usize = 6;
const CLASSES: usize = 2;
const RANGE: GuidanceWeights = GuidanceWeights::Range([-0.5, 2.0]);

/// v = (a + w a') z + b + w b', with coefficients of its own for every timestep and class.
#[derive(Module, Debug)]
struct Lines {
    table: Param<Tensor<2>>,
}

impl Lines {
    /// With a function of their numbers as coefficients.
    fn of(coefficient: impl Fn(usize) -> f64) -> Self {
        let values = (0..TIMESTEPS * CLASSES * 4).map(|index| coefficient(index) as f32);
        let values: Vec<f32> = values.collect();
        let shape = [TIMESTEPS * CLASSES, 4];
        let table = Tensor::from_data(TensorData::new(values, shape), &Device::flex());
        Self {
            table: Param::from_tensor(table),
        }
    }

    /// Arbitrary coefficients.
    fn shaken(shift: f64) -> Self {
        Self::of(|index| (1.7 * index as f64 + shift).sin() * 0.4)
    }

    /// v = a z.
    fn slope(a: f64) -> Self {
        Self::of(|index| if index % 4 == 0 { a } else { 0.0 })
    }

    fn values(&self) -> Vec<f64> {
        values(self.table.val())
    }

    fn row(timestep: usize, class: usize) -> usize {
        (timestep - 1) * CLASSES + class
    }
}

impl Network for Lines {
    fn forward(&self, z: Tensor<4>, time: &[f64], inputs: &Inputs) -> Tensor<4> {
        let device = z.device();
        let classes = inputs.classes.as_ref().expect("classes");
        let row = |(&time, class): (&f64, &Option<u32>)| {
            let class = class.expect("a class") as usize;
            Self::row(time.round() as usize + 1, class) as i32
        };
        let rows: Vec<i32> = time.iter().zip(classes).map(row).collect();
        let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [time.len()]), &device);
        let coefficients = self.table.val().select(0, rows);
        let column = |index| -> Tensor<4> {
            let column: Tensor<2> = coefficients.clone().narrow(1, index, 1);
            column.reshape([time.len(), 1, 1, 1])
        };
        let w = per_sample(inputs.w.clone().expect("w"), &device);
        z * (column(0) + column(1) * w.clone()) + column(2) + column(3) * w
    }
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    let values: Vec<f32> = tensor.into_data().try_to_vec().expect("f32 data");
    values.into_iter().map(f64::from).collect()
}

/// Six timesteps, so that a table can have a row for each.
fn schedule() -> Schedule {
    Schedule::new(ScheduleConfig::Discrete {
        betas: BetaSchedule::Linear,
        beta_start: 0.05,
        beta_end: 0.9,
        steps: TIMESTEPS,
        zero_terminal_snr: false,
        clean_end: true,
    })
    .expect("valid")
}

fn model(network: Lines) -> DiffusionModel<Lines> {
    DiffusionModel {
        network,
        schedule: schedule(),
        prediction: PredictionKind::V,
    }
}

/// Classes of one width, which guidance keeps: it moves only their means.
const WIDTH: f64 = 0.4;
const MEANS: [f64; CLASSES] = [0.6, -0.4];
const MEAN_OF_ALL: f64 = 0.1;

fn teacher() -> CfgDenoiser<GaussianDenoiser> {
    let gaussian = |mu| Gaussian { mu, s: WIDTH };
    let classes = MEANS.map(gaussian).to_vec();
    CfgDenoiser::new(GaussianDenoiser::new(
        schedule(),
        classes,
        gaussian(MEAN_OF_ALL),
    ))
}

fn matching(steps: usize) -> DistributionMatching<CfgDenoiser<GaussianDenoiser>> {
    DistributionMatching {
        teacher: teacher(),
        simulation: simulation(steps),
        times: [0.02, 0.98],
    }
}

fn simulation(steps: usize) -> Simulation {
    Simulation {
        steps,
        trained: TrainedSteps::All,
        weights: Some(RANGE),
        clip: true,
    }
}

/// Images that no loss may look at: only their labels count.
fn batch(clock: u64, count: usize, shape: [usize; 3]) -> Batch {
    let [channels, height, width] = shape;
    Batch {
        images: Tensor::ones([count, channels, height, width], &Device::flex()) * 77.0,
        inputs: Inputs::classes((0..count as u32).map(|sample| sample % CLASSES as u32)),
        clock,
        update: clock,
    }
}

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

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
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

/// All samples of an update are at one step, whatever part of it they are in; over many updates it
/// is every step equally often, or always the last where only that learns.
#[test]
fn the_step_of_an_update_is_drawn_evenly() {
    let of = |clock, update| {
        let batch = Batch {
            clock,
            update,
            ..batch(0, 4, [1, 1, 1])
        };
        let draws = crate::method::Draws::new(SEED, &batch);
        let last = Simulation {
            trained: TrainedSteps::Last,
            ..simulation(4)
        };
        assert_eq!(last.step(draws), 1);
        simulation(4).step(draws)
    };
    assert_eq!(of(32, 0), of(0, 0));
    let mut counts = [0; 5];
    (0..400).for_each(|update| counts[of(update, update)] += 1);
    assert_eq!(counts[0], 0);
    assert!(
        counts[1..].iter().all(|count| (70..130).contains(count)),
        "{counts:?}"
    );
}

/// Noise is added at the timesteps within the range, or anywhere in it on a continuous schedule.
#[test]
fn times_are_within_their_range() {
    let objective = DistributionMatching {
        times: [0.3, 0.7],
        ..matching(1)
    };
    let draws = crate::method::Draws::new(SEED, &batch(0, 200, [1, 1, 1]));
    let mut times = objective.draw_times(draws, &schedule());
    times.sort_by(f64::total_cmp);
    times.dedup();
    assert_eq!(times, [2.0, 3.0, 4.0].map(|k| k / TIMESTEPS as f64));
    let times = objective.draw_times(draws, &Schedule::default());
    assert!(times.iter().all(|t| (0.3..0.7).contains(t)));
    assert!(times.iter().any(|t| *t < 0.32) && times.iter().any(|t| *t > 0.68));
}

/// Student and fake score in turns: the student's images have the mean μ_c + w (μ_c − μ) and the
/// width of the guided teacher's, for every class and w. Of two steps the last one learns: a fake
/// score that is a line cannot tell the images of two steps from those of one.
#[test]
fn the_student_reaches_the_guided_distribution() {
    const BATCH: usize = 128;
    const TURNS: u64 = 300;
    let shape = [1, 2, 2];
    // Of an image with the opposite sign, Gaussians are as likely: the student starts well on one side.
    let start = |slope: f64, lr: f64, total: u64| {
        let optim = OptimConfig {
            clip: 100.0,
            ema: Some(Ema::Decay(0.9)),
            ..OptimConfig::of(BATCH, lr)
        };
        Stepper::new(model(Lines::slope(slope)), optim, total)
    };
    for steps in [1, 2] {
        let objective = DistributionMatching {
            simulation: Simulation {
                clip: false,
                trained: TrainedSteps::Last,
                ..simulation(steps)
            },
            ..matching(steps)
        };
        let follow = FakeScore {
            simulation: objective.simulation,
            weighting: LossWeighting::SnrPlusOne,
        };
        let (mut student, mut fake) = (start(-0.6, 0.03, TURNS), start(0.0, 0.1, 3 * TURNS));
        for update in 0..3 * TURNS {
            let batch = [batch(update * BATCH as u64, BATCH, shape)];
            if update % 3 == 0 {
                let model = PlayerState::model(&fake);
                let peer = Peer {
                    name: FAKE_SCORE,
                    model: &*model,
                };
                let drawn = (&batch[..], SEED);
                student
                    .update_among(&[peer], &objective, drawn, &mut || {})
                    .expect("finite");
            }
            let model = PlayerState::model(&student);
            let peer = Peer {
                name: STUDENT,
                model: &*model,
            };
            fake.update_among(&[peer], &follow, (&batch, SEED + 1), &mut || {})
                .expect("finite");
        }
        let student = model(student.result());
        let samples: Vec<u64> = (0..1000).collect();
        let noise = random::normal(9, &samples, Purpose::InitialNoise, shape, &Device::flex());
        for (class, mu) in MEANS.into_iter().enumerate() {
            for w in [0.0, 1.0, 2.0] {
                let inputs = Inputs::classes(samples.iter().map(|_| class as u32));
                let inputs = inputs.with_w(vec![w; samples.len()]);
                let (grid, ignore) = (TimeGrid::uniform(steps), &mut sampler::ignore);
                let x = sampler::deterministic(&student, noise.clone(), &inputs, &grid, ignore);
                let x = values(x.expect("nothing cancels it"));
                let average = mean(x.iter().copied());
                let width = mean(x.iter().map(|x| (x - average).powi(2))).sqrt();
                let expected = mu + w * (mu - MEAN_OF_ALL);
                let what = format!("{steps} steps, class {class}, w {w}: {average} ± {width}");
                println!("{what} for {expected} ± {WIDTH}");
                assert!((average - expected).abs() < 0.05, "{what} for {expected}");
                assert!(
                    (width / WIDTH - 1.0).abs() < 0.15,
                    "{what} for a width of {WIDTH}"
                );
            }
        }
    }
}
