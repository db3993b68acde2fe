//! Images of Gaussian classes, a student that can be exactly the optimum for them, and how to train
//! it.

use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};
use fewstep_diffusion::analytic::Gaussian;
use fewstep_diffusion::random::{self, Purpose};
use fewstep_diffusion::{
    BetaSchedule, Denoiser, DiffusionModel, Inputs, Network, NoiseLevel, PredictionKind, Schedule,
    ScheduleConfig, per_sample,
};
use fewstep_distill::method::{Batch, Objective};
use fewstep_distill::optim::{OptimConfig, Stepper};
use fewstep_kernels::device::DeviceName;

const BATCH: usize = 256;
pub(crate) const SHAPE: [usize; 3] = [1, 2, 2];
pub(crate) const CLASSES: [Gaussian; 2] =
    [Gaussian { mu: 0.6, s: 0.3 }, Gaussian { mu: -0.4, s: 0.5 }];
pub(crate) const ALL: Gaussian = Gaussian { mu: 0.1, s: 0.7 };

/// A student that can be exactly the optimum for Gaussians: v = (a + w a') z + b + w b', with
/// coefficients of its own for every timestep and class.
#[derive(Module, Debug)]
pub(crate) struct Linear {
    table: Param<Tensor<2>>,
    #[module(skip)]
    times: Vec<f64>,
}

impl Linear {
    pub(crate) fn new(times: Vec<f64>) -> Self {
        let device = device();
        let table = Tensor::zeros([times.len() * CLASSES.len(), 4], &device);
        Self {
            table: Param::from_tensor(table),
            times,
        }
    }

    fn row(&self, time: f64, class: u32) -> usize {
        let nearest = |a: &&f64, b: &&f64| (**a - time).abs().total_cmp(&(**b - time).abs());
        let time = self.times.iter().min_by(nearest).expect("there are times");
        let index = self
            .times
            .iter()
            .position(|t| t == time)
            .expect("one of them");
        index * CLASSES.len() + class as usize
    }
}

impl Network for Linear {
    fn forward(&self, z: Tensor<4>, time: &[f64], inputs: &Inputs) -> Tensor<4> {
        let classes = inputs.classes.as_ref().expect("classes are given");
        let row = |(&time, class): (&f64, &Option<u32>)| {
            self.row(time, class.expect("students see every label")) as i32
        };
        let rows: Vec<i32> = time.iter().zip(classes).map(row).collect();
        let device = z.device();
        let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [time.len()]), &device);
        let coefficients = self.table.val().select(0, rows);
        let column = |index| {
            let column: Tensor<2> = coefficients.clone().narrow(1, index, 1);
            column.reshape([time.len(), 1, 1, 1])
        };
        let w = inputs.w.clone().unwrap_or_else(|| vec![0.0; time.len()]);
        let w = per_sample(w, &device);
        z * (column(0) + column(1) * w.clone()) + column(2) + column(3) * w
    }
}

/// The device that FEWSTEP_TEST_DEVICE names, by default the CPU.
pub(crate) fn device() -> Device {
    let name = std::env::var("FEWSTEP_TEST_DEVICE").unwrap_or_else(|_| "cpu".into());
    let name: DeviceName = name.parse().expect("a device's name");
    name.open().expect("a device of this machine")
}

fn optim(lr: f64) -> OptimConfig {
    toml::from_str(&format!("batch = {BATCH}\nlr = {lr}\nclip = 100.0")).expect("valid")
}

/// Images of the Gaussian classes, which alternate.
fn batch(clock: u64) -> Batch {
    let samples: Vec<u64> = (clock..clock + BATCH as u64).collect();
    let classes: Vec<u32> = samples.iter().map(|s| (s % 2) as u32).collect();
    let device = device();
    let of = |f: fn(&Gaussian) -> f64| {
        per_sample(classes.iter().map(|&c| f(&CLASSES[c as usize])), &device)
    };
    let noise = random::normal(99, &samples, Purpose::InitialNoise, SHAPE, &device);
    Batch {
        images: noise * of(|g| g.s) + of(|g| g.mu),
        inputs: Inputs::classes(classes),
        clock,
        update: clock,
    }
}

pub(crate) fn distil<N: Module + Network>(
    network: N,
    schedule: Schedule,
    objective: &dyn Objective,
    updates: u64,
    lr: f64,
) -> DiffusionModel<N> {
    let model = DiffusionModel {
        network,
        schedule,
        prediction: PredictionKind::V,
    };
    let mut stepper = Stepper::new(model.clone(), optim(lr), updates);
    for update in 0..updates {
        let batch = batch(update * BATCH as u64);
        stepper.update(objective, &[batch], 7).expect("finite");
    }
    DiffusionModel {
        network: stepper.result(),
        ..model
    }
}

/// The velocity field of a denoiser at one time and label, as (slope, offset) of a line.
pub(crate) fn line(denoiser: &dyn Denoiser, t: f64, class: Option<u32>, w: f64) -> (f64, f64) {
    let at = |z: f64| {
        let mut inputs = Inputs::classes([0]).with_w(vec![w]);
        inputs.classes = Some(vec![class]);
        let z = Tensor::ones([1, 1, 2, 2], &device()) * z;
        let v = denoiser.predict(z, &[t], &inputs).v();
        f64::from(v.narrow(2, 0, 1).narrow(3, 0, 1).into_scalar::<f32>())
    };
    (at(1.0) - at(0.0), at(0.0))
}

/// A schedule of six timesteps, so that a table can have a row for each.
pub(crate) fn discrete() -> Schedule {
    Schedule::new(ScheduleConfig::Discrete {
        betas: BetaSchedule::Linear,
        beta_start: 0.05,
        beta_end: 0.6,
        steps: 6,
        zero_terminal_snr: false,
        clean_end: true,
    })
    .expect("valid")
}

/// Composition of the teacher's exact DDIM steps over a list of times, as (slope, offset) on z.
pub(crate) fn composed(gaussian: Gaussian, schedule: &Schedule, times: &[f64]) -> (f64, f64) {
    let level = |t: f64| {
        if t == 0.0 {
            NoiseLevel::CLEAN
        } else {
            schedule.at(t)
        }
    };
    times.windows(2).fold((1.0, 0.0), |(slope, offset), pair| {
        let (from, to) = (level(pair[0]), level(pair[1]));
        let (a, b) = gaussian.velocity(from);
        let delta = to.angle - from.angle;
        let (cos, sin) = (delta.cos(), delta.sin());
        ((cos + sin * a) * slope, (cos + sin * a) * offset + sin * b)
    })
}
