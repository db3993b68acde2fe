//! A small student whose images are known by hand, for tests of methods that start from one.

use super::{Simulation, TrainedSteps};
use crate::method::{Batch, GuidanceWeights, Objective, Peer, Student};
use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};
use fewstep_diffusion::analytic::{Gaussian, GaussianDenoiser};
use fewstep_diffusion::random::{self, Purpose};
use fewstep_diffusion::{
    BetaSchedule, CfgDenoiser, DiffusionModel, Inputs, Network, NoiseLevel, PredictionKind,
    Schedule, ScheduleConfig, per_sample,
};

pub(in crate::method) const SEED: u64 = 3;
pub(in crate::method) const TIMESTEPS: usize = 6;
pub(in crate::method) const CLASSES: usize = 2;
pub(in crate::method) const RANGE: GuidanceWeights = GuidanceWeights::Range([-0.5, 2.0]);

/// v = (a + w a') z + b + w b', with coefficients of its own for every timestep and class.
#[derive(Module, Debug)]
pub(in crate::method) struct Lines {
    pub(in crate::method) table: Param<Tensor<2>>,
}

impl Lines {
    /// With a function of their numbers as coefficients.
    pub(in crate::method) fn of(coefficient: impl Fn(usize) -> f64) -> Self {
        let values = (0..TIMESTEPS * CLASSES * 4).map(|index| coefficient(index) as f32);
        let values: Vec<f32> = values.collect();
        let shape = [TIMESTEPS * CLASSES, 4];
        let table = Tensor::from_data(TensorData::new(values, shape), &Device::flex());
        Self {
            table: Param::from_tensor(table),
        }
    }

    /// Arbitrary coefficients.
    pub(in crate::method) fn shaken(shift: f64) -> Self {
        Self::of(|index| (1.7 * index as f64 + shift).sin() * 0.4)
    }

    /// v = a z.
    pub(in crate::method) fn slope(a: f64) -> Self {
        Self::of(|index| if index % 4 == 0 { a } else { 0.0 })
    }

    pub(in crate::method) fn values(&self) -> Vec<f64> {
        values(self.table.val())
    }

    pub(in crate::method) fn row(timestep: usize, class: usize) -> usize {
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

pub(in crate::method) fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    let values: Vec<f32> = tensor.into_data().try_to_vec().expect("f32 data");
    values.into_iter().map(f64::from).collect()
}

/// Six timesteps, so that a table can have a row for each.
pub(in crate::method) fn schedule() -> Schedule {
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

pub(in crate::method) fn model<N>(network: N) -> DiffusionModel<N> {
    DiffusionModel {
        network,
        schedule: schedule(),
        prediction: PredictionKind::V,
    }
}

/// Classes of one width, which guidance keeps: it moves only their means.
pub(in crate::method) const WIDTH: f64 = 0.4;
pub(in crate::method) const MEANS: [f64; CLASSES] = [0.6, -0.4];
pub(in crate::method) const MEAN_OF_ALL: f64 = 0.1;

pub(in crate::method) fn teacher() -> CfgDenoiser<GaussianDenoiser> {
    let gaussian = |mu| Gaussian { mu, s: WIDTH };
    let classes = MEANS.map(gaussian).to_vec();
    CfgDenoiser::new(GaussianDenoiser::new(
        schedule(),
        classes,
        gaussian(MEAN_OF_ALL),
    ))
}

pub(in crate::method) fn simulation(steps: usize) -> Simulation {
    Simulation {
        steps,
        trained: TrainedSteps::All,
        weights: Some(RANGE),
        clip: true,
    }
}

/// Images that no loss may look at: only their labels count.
pub(in crate::method) fn batch(clock: u64, count: usize, shape: [usize; 3]) -> Batch {
    let [channels, height, width] = shape;
    Batch {
        images: Tensor::ones([count, channels, height, width], &Device::flex()) * 77.0,
        inputs: Inputs::classes((0..count as u32).map(|sample| sample % CLASSES as u32)),
        clock,
        update: clock,
    }
}

pub(in crate::method) fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}

/// One sample by hand.
pub(in crate::method) struct Sample {
    pub(in crate::method) class: usize,
    pub(in crate::method) w: f64,
    pub(in crate::method) timestep: usize,
    pub(in crate::method) noise: Vec<f64>,
    /// The student's step that counts, what it starts from there, and its image.
    pub(in crate::method) step: usize,
    pub(in crate::method) z: Vec<f64>,
    pub(in crate::method) x: Vec<f64>,
}

pub(in crate::method) fn level(timestep: usize) -> NoiseLevel {
    schedule().at(timestep as f64 / TIMESTEPS as f64)
}

/// v̂ of a table.
pub(in crate::method) fn velocity(
    table: &[f64],
    timestep: usize,
    (class, w): (usize, f64),
    z: f64,
) -> f64 {
    let row = &table[4 * Lines::row(timestep, class)..][..4];
    (row[0] + w * row[1]) * z + row[2] + w * row[3]
}

pub(in crate::method) fn image(level: NoiseLevel, z: f64, v: f64) -> f64 {
    level.alpha() * z - level.sigma() * v
}

pub(in crate::method) const PIXELS: usize = 3;

/// What the student generates for each sample; `timestep_of` makes a timestep of a uniform number.
pub(in crate::method) fn by_hand(
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

pub(in crate::method) fn assert_close(ours: &[f64], expected: &[f64], what: &str) {
    assert_eq!(ours.len(), expected.len());
    for (index, (ours, expected)) in ours.iter().zip(expected).enumerate() {
        let error = (ours - expected).abs();
        let allowed = 2e-4 * (1.0 + expected.abs());
        assert!(error < allowed, "{what} {index}: {ours} for {expected}");
    }
}

/// A network whose parameters are a table.
pub(in crate::method) trait Tabled: Network + Module + Clone {
    fn table(&self) -> Tensor<2>;
}

impl Tabled for Lines {
    fn table(&self) -> Tensor<2> {
        self.table.val()
    }
}

/// Losses of the samples, and the gradient of their mean in the table of the network.
pub(in crate::method) fn losses_and_gradient<N: Tabled>(
    objective: &dyn Objective,
    network: &N,
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
    let gradient = online.network.table().grad(&gradients).expect("moved");
    (values(loss.inner()), values(gradient))
}
