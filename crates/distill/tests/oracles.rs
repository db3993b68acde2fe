//! Distillation of teachers whose students are known in closed form.

use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData, activation::silu};
use fewstep_diffusion::analytic::{
    Component, Coupling, Gaussian, GaussianDenoiser, MixtureDenoiser,
};
use fewstep_diffusion::random::{self, Purpose};
use fewstep_diffusion::{
    BetaSchedule, CfgDenoiser, Denoiser, DiffusionModel, Inputs, Network, NoiseLevel,
    PredictionKind, Schedule, ScheduleConfig, per_sample,
};
use fewstep_distill::method::{
    self, Batch, GuidanceWeights, Halving, LossWeighting, Objective, Progressive,
};
use fewstep_distill::optim::{OptimConfig, Stepper};
use fewstep_kernels::device::DeviceName;

const BATCH: usize = 256;
const SHAPE: [usize; 3] = [1, 2, 2];
const CLASSES: [Gaussian; 2] = [Gaussian { mu: 0.6, s: 0.3 }, Gaussian { mu: -0.4, s: 0.5 }];
const ALL: Gaussian = Gaussian { mu: 0.1, s: 0.7 };

/// A student that can be exactly the optimum for Gaussians: v = (a + w a') z + b + w b', with
/// coefficients of its own for every timestep and class.
#[derive(Module, Debug)]
struct Linear {
    table: Param<Tensor<2>>,
    #[module(skip)]
    times: Vec<f64>,
}

impl Linear {
    fn new(times: Vec<f64>) -> Self {
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

/// A small network on (z, time) for what is not linear.
#[derive(Module, Debug)]
struct Mlp {
    first: burn::nn::Linear,
    second: burn::nn::Linear,
    third: burn::nn::Linear,
}

impl Mlp {
    fn new() -> Self {
        let device = device();
        device.seed(1);
        let layer = |from, to| {
            let layer = burn::nn::LinearConfig::new(from, to).init(&device);
            // Initialisation is lazy: ask for it now, while the seed is fresh.
            let _ = (
                layer.weight.val(),
                layer.bias.as_ref().map(|bias| bias.val()),
            );
            layer
        };
        Self {
            first: layer(2, 64),
            second: layer(64, 64),
            third: layer(64, 1),
        }
    }
}

impl Network for Mlp {
    fn forward(&self, z: Tensor<4>, time: &[f64], _: &Inputs) -> Tensor<4> {
        let shape = z.dims();
        let pixels: usize = SHAPE.iter().product();
        let time = time
            .iter()
            .flat_map(|&t| std::iter::repeat_n(t / 500.0 - 1.0, pixels));
        let rows = shape[0] * pixels;
        let time = per_sample(time, &z.device()).reshape([rows, 1]);
        let h = Tensor::cat(vec![z.reshape([rows, 1]), time], 1);
        let h = silu(self.second.forward(silu(self.first.forward(h))));
        self.third.forward(h).reshape(shape)
    }
}

/// The device that FEWSTEP_TEST_DEVICE names, by default the CPU.
fn device() -> Device {
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

fn distil<N: Module + Network>(
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

/// The velocity field of a denoiser at one time and class, as (slope, offset) of a line.
fn line(denoiser: &dyn Denoiser, t: f64, class: u32, w: f64) -> (f64, f64) {
    let at = |z: f64| {
        let inputs = Inputs::classes([class]).with_w(vec![w]);
        let z = Tensor::ones([1, 1, 2, 2], &device()) * z;
        let v = denoiser.predict(z, &[t], &inputs).v();
        f64::from(v.narrow(2, 0, 1).narrow(3, 0, 1).into_scalar::<f32>())
    };
    (at(1.0) - at(0.0), at(0.0))
}

/// Stage one on a discrete schedule: for every timestep, class and w the student is the guided
/// teacher's (1 + w) (a_c z + b_c) − w (a_∅ z + b_∅).
#[test]
fn stage_one_reaches_the_closed_form() {
    let schedule = Schedule::new(ScheduleConfig::Discrete {
        betas: BetaSchedule::Linear,
        beta_start: 0.05,
        beta_end: 0.6,
        steps: 6,
        zero_terminal_snr: false,
        clean_end: true,
    })
    .expect("valid");
    let teacher = GaussianDenoiser::new(schedule.clone(), CLASSES.to_vec(), ALL);
    let objective = method::GuidanceDistillation {
        teacher: CfgDenoiser::new(teacher),
        weights: GuidanceWeights::Range([0.0, 2.0]),
        weighting: LossWeighting::TruncatedSnr,
    };
    let student = Linear::new((0..6).map(f64::from).collect());
    let student = distil(student, schedule.clone(), &objective, 600, 0.05);
    for k in 1..=6 {
        let t = f64::from(k) / 6.0;
        for (class, gaussian) in CLASSES.iter().enumerate() {
            let (a, b) = gaussian.velocity(schedule.at(t));
            let (a_all, b_all) = ALL.velocity(schedule.at(t));
            for w in [0.0, 0.7, 2.0] {
                let (slope, offset) = line(&student, t, class as u32, w);
                let expected = ((1.0 + w) * a - w * a_all, (1.0 + w) * b - w * b_all);
                let error = (slope - expected.0).abs().max((offset - expected.1).abs());
                assert!(
                    error < 0.02,
                    "t {t}, class {class}, w {w}: {slope}, {offset} for {expected:?}"
                );
            }
        }
    }
}

/// Composition of the teacher's exact DDIM steps over a list of times, as (slope, offset) on z.
fn composed(gaussian: Gaussian, schedule: &Schedule, times: &[f64]) -> (f64, f64) {
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

/// Halving 8 → 4 → 2 → 1: the one-step student maps noise to where the teacher's eight DDIM steps
/// take it.
#[test]
fn halvings_compose_to_the_teachers_trajectory() {
    let schedule = Schedule::default();
    let mut teacher: Box<dyn Denoiser> = Box::new(GaussianDenoiser::new(
        schedule.clone(),
        CLASSES.to_vec(),
        ALL,
    ));
    for steps in [4, 2, 1] {
        let objective = Progressive {
            teacher,
            steps,
            halving: Halving::Deterministic,
            target: method::TargetForm::Velocities,
            weights: Some(GuidanceWeights::Single(0.0)),
            weighting: LossWeighting::TruncatedSnr,
        };
        let times = (1..=steps).map(|i| schedule.network_time(i as f64 / steps as f64));
        let student = Linear::new(times.collect());
        teacher = Box::new(distil(student, schedule.clone(), &objective, 500, 0.05));
    }
    let eighths: Vec<f64> = (0..=8).rev().map(|i| f64::from(i) / 8.0).collect();
    for (class, &gaussian) in CLASSES.iter().enumerate() {
        let expected = composed(gaussian, &schedule, &eighths);
        let level = schedule.at(1.0);
        let (a, b) = line(&*teacher, 1.0, class as u32, 0.0);
        // x̂ = α z − σ v̂
        let ours = (level.alpha() - level.sigma() * a, -level.sigma() * b);
        let error = (ours.0 - expected.0).abs().max((ours.1 - expected.1).abs());
        assert!(error < 0.02, "class {class}: {ours:?} for {expected:?}");
        // Eight steps are not the exact flow, and the student has learnt the eight steps.
        assert!((gaussian.s - expected.0).abs() > error, "class {class}");
    }
}

/// The reversed direction: an encoder of two steps follows the teacher's four steps upwards.
#[test]
fn an_encoder_follows_the_teacher_upwards() {
    let schedule = Schedule::default();
    let teacher = GaussianDenoiser::new(schedule.clone(), CLASSES.to_vec(), ALL);
    let objective = Progressive {
        teacher,
        steps: 2,
        halving: Halving::Encoder,
        target: method::TargetForm::Velocities,
        weights: Some(GuidanceWeights::Single(0.0)),
        weighting: LossWeighting::TruncatedSnr,
    };
    let times = [0.0, 0.5].map(|t| schedule.network_time(t));
    let student = distil(
        Linear::new(times.to_vec()),
        schedule.clone(),
        &objective,
        600,
        0.05,
    );
    for (class, &gaussian) in CLASSES.iter().enumerate() {
        for (start, middle, end) in [(0.0, 0.25, 0.5), (0.5, 0.75, 1.0)] {
            let level = |t: f64| schedule.at(t);
            let exact =
                [(start, middle), (middle, end)]
                    .iter()
                    .fold((1.0, 0.0), |(s, o), &(t, u)| {
                        let (a, b) = gaussian.velocity(level(t));
                        let (sin, cos) = (level(u).angle - level(t).angle).sin_cos();
                        ((cos + sin * a) * s, (cos + sin * a) * o + sin * b)
                    });
            let (a, b) = line(&student, start, class as u32, 0.0);
            let (sin, cos) = (level(end).angle - level(start).angle).sin_cos();
            let error = (cos + sin * a - exact.0)
                .abs()
                .max((sin * b - exact.1).abs());
            assert!(error < 0.03, "class {class} from {start}: off by {error}");
        }
    }
}

/// A mixture is not linear: a small network learns one step for the teacher's two, to the accuracy
/// of its size.
#[test]
fn a_mixture_teacher_is_followed_in_one_step() {
    let schedule = Schedule::default();
    let part = |mu| Component {
        weight: 1.0,
        gaussian: Gaussian { mu, s: 0.25 },
    };
    let classes = [vec![part(-0.6), part(0.6)], vec![part(-0.6), part(0.6)]];
    let teacher = MixtureDenoiser::new(schedule.clone(), Coupling::Pixel, &classes);
    let objective = Progressive {
        teacher: teacher.clone(),
        steps: 2,
        halving: Halving::Deterministic,
        target: method::TargetForm::Velocities,
        weights: Some(GuidanceWeights::Single(0.0)),
        weighting: LossWeighting::SnrPlusOne,
    };
    let student = distil(Mlp::new(), schedule.clone(), &objective, 700, 5e-3);
    let points = 41;
    let inputs = Inputs::classes(vec![0; points]);
    for start in [0.5, 1.0] {
        let times = |t: f64| vec![t; points];
        let level = |t: f64| {
            if t == 0.0 {
                NoiseLevel::CLEAN
            } else {
                schedule.at(t)
            }
        };
        let z = per_sample((0..points).map(|i| (i as f64 - 20.0) / 10.0), &device());
        let z = z.expand([points, 1, 2, 2]);
        let first = teacher.predict(z.clone(), &times(start), &inputs);
        let middle = first.ddim(&vec![level(start - 0.25); points]);
        let second = teacher.predict(middle, &times(start - 0.25), &inputs);
        let end = vec![level(start - 0.5); points];
        let ours = student.predict(z, &times(start), &inputs).ddim(&end);
        let error = (ours - second.ddim(&end))
            .square()
            .mean()
            .into_scalar::<f32>()
            .sqrt();
        assert!(error < 0.06, "from {start}: rms {error}");
    }
}
