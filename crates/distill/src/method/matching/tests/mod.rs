//! Both losses by hand in 64 bits, and a student of Gaussian classes that ends at the guided
//! teacher's distribution.

mod by_hand;
mod distribution;

use super::*;
use crate::method::{Batch, Draws};
use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};
use fewstep_diffusion::analytic::{Gaussian, GaussianDenoiser};
use fewstep_diffusion::{
    BetaSchedule, CfgDenoiser, Inputs, Network, PredictionKind, Schedule, ScheduleConfig,
    per_sample,
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

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
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
        let draws = Draws::new(SEED, &batch);
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
    let draws = Draws::new(SEED, &batch(0, 200, [1, 1, 1]));
    let mut times = objective.draw_times(draws, &schedule());
    times.sort_by(f64::total_cmp);
    times.dedup();
    assert_eq!(times, [2.0, 3.0, 4.0].map(|k| k / TIMESTEPS as f64));
    let times = objective.draw_times(draws, &Schedule::default());
    assert!(times.iter().all(|t| (0.3..0.7).contains(t)));
    assert!(times.iter().any(|t| *t < 0.32) && times.iter().any(|t| *t > 0.68));
}
