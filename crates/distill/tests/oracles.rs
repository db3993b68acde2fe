//! Distillation of teachers whose students are known in closed form.

mod gaussians;

use burn::module::Module;
use burn::tensor::{Tensor, activation::silu};
use fewstep_diffusion::analytic::{
    Component, Coupling, Gaussian, GaussianDenoiser, MixtureDenoiser,
};
use fewstep_diffusion::{CfgDenoiser, Denoiser, Inputs, Network, NoiseLevel, Schedule, per_sample};
use fewstep_distill::method::{
    self, GuidanceWeights, Halving, LossWeighting, NoisyImages, Progressive,
};
use gaussians::{ALL, CLASSES, Linear, SHAPE, composed, device, discrete, distil, line};

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

/// Stage one on a discrete schedule: for every timestep, class and w the student is the guided
/// teacher's (1 + w) (a_c z + b_c) − w (a_∅ z + b_∅).
#[test]
fn stage_one_reaches_the_closed_form() {
    let schedule = discrete();
    let teacher = GaussianDenoiser::new(schedule.clone(), CLASSES.to_vec(), ALL);
    let objective = method::GuidanceDistillation {
        teacher: CfgDenoiser::new(teacher),
        weights: GuidanceWeights::Range([0.0, 2.0]),
        weighting: LossWeighting::TruncatedSnr,
        images: NoisyImages::Data,
    };
    let student = Linear::new((0..6).map(f64::from).collect());
    let student = distil(student, schedule.clone(), &objective, 600, 0.05);
    for k in 1..=6 {
        let t = f64::from(k) / 6.0;
        for (class, gaussian) in CLASSES.iter().enumerate() {
            let (a, b) = gaussian.velocity(schedule.at(t));
            let (a_all, b_all) = ALL.velocity(schedule.at(t));
            for w in [0.0, 0.7, 2.0] {
                let (slope, offset) = line(&student, t, Some(class as u32), w);
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
        let (a, b) = line(&*teacher, 1.0, Some(class as u32), 0.0);
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
            let (a, b) = line(&student, start, Some(class as u32), 0.0);
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
