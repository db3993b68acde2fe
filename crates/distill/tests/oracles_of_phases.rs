//! What the phases around stage one make of Gaussian classes, in closed form: a teacher with dropped
//! labels, halvings over a range of w, and students of the stochastic sampler.

mod gaussians;

use burn::module::{Module, Param};
use burn::tensor::{Int, Tensor, TensorData};
use fewstep_diffusion::analytic::{Gaussian, GaussianDenoiser};
use fewstep_diffusion::random::{self, Purpose};
use fewstep_diffusion::sampler::{self, StepNoise};
use fewstep_diffusion::{CfgDenoiser, Denoiser, Inputs, Network, NoiseLevel, Schedule, TimeGrid};
use fewstep_distill::method::{
    Denoising, GuidanceWeights, Halving, LossWeighting, Progressive, TargetForm,
};
use gaussians::{ALL, CLASSES, Linear, SHAPE, composed, device, discrete, distil, line};

/// v = a z + b, with one a for each timestep, and a b for each timestep and label, ∅ being one: how
/// often labels are dropped decides what a is.
#[derive(Module, Debug)]
struct SharedSlope {
    slopes: Param<Tensor<2>>,
    offsets: Param<Tensor<2>>,
}

impl SharedSlope {
    const LABELS: usize = CLASSES.len() + 1;

    fn new(timesteps: usize) -> Self {
        let zeros = |rows| Param::from_tensor(Tensor::zeros([rows, 1], &device()));
        Self {
            slopes: zeros(timesteps),
            offsets: zeros(timesteps * Self::LABELS),
        }
    }
}

impl Network for SharedSlope {
    fn forward(&self, z: Tensor<4>, time: &[f64], inputs: &Inputs) -> Tensor<4> {
        let device = z.device();
        let of = |table: &Param<Tensor<2>>, rows: Vec<i32>| -> Tensor<4> {
            let count = rows.len();
            let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [count]), &device);
            table.val().select(0, rows).reshape([count, 1, 1, 1])
        };
        let timesteps = || time.iter().map(|t| t.round() as i32);
        let labels = inputs.classes.as_ref().expect("classes are given");
        let labels = labels
            .iter()
            .map(|l| l.map_or(CLASSES.len() as i32, |c| c as i32));
        let offsets = timesteps()
            .zip(labels)
            .map(|(t, l)| t * Self::LABELS as i32 + l);
        let offsets = of(&self.offsets, offsets.collect());
        z * of(&self.slopes, timesteps().collect()) + offsets
    }
}

/// Ordinary training with dropped labels. Samples of class c are (1 − p) / 2 of all and those of ∅,
/// which have the moments of both classes together, p. With an offset for each label, the best slope
/// is the mean of cov(z, v) = α σ (1 − s²) over the mean of var z = α² s² + σ², and the lines go
/// through the means: v = −σ μ at z = α μ. Targets are noisy here, unlike a teacher's, and so is the
/// result.
#[test]
fn dropped_labels_count_as_often_as_they_are_dropped() {
    let schedule = discrete();
    for dropped in [0.2, 0.7] {
        let objective = Denoising {
            weighting: LossWeighting::TruncatedSnr,
            label_dropout: dropped,
            drops_source: false,
            weights: None,
        };
        let student = distil(SharedSlope::new(6), schedule.clone(), &objective, 600, 0.05);
        let [one, two] = CLASSES;
        let both = Gaussian {
            mu: (one.mu + two.mu) / 2.0,
            s: ((one.s.powi(2) + two.s.powi(2)) / 2.0 + ((one.mu - two.mu) / 2.0).powi(2)).sqrt(),
        };
        let kept = (1.0 - dropped) / 2.0;
        let labels = [
            (kept, one, Some(0)),
            (kept, two, Some(1)),
            (dropped, both, None),
        ];
        for k in 1..=6 {
            let level = schedule.at(f64::from(k) / 6.0);
            let (alpha, sigma) = (level.alpha(), level.sigma());
            let mean = |f: &dyn Fn(Gaussian) -> f64| -> f64 {
                labels
                    .iter()
                    .map(|&(share, gaussian, _)| share * f(gaussian))
                    .sum()
            };
            let covariance = mean(&|g| alpha * sigma * (1.0 - g.s.powi(2)));
            let slope = covariance / mean(&|g| g.variance(level));
            for (_, gaussian, label) in labels {
                let offset = -sigma * gaussian.mu - slope * alpha * gaussian.mu;
                let (a, b) = line(&student, f64::from(k) / 6.0, label, 0.0);
                let error = (a - slope).abs().max((b - offset).abs());
                assert!(
                    error < 0.05,
                    "dropped {dropped}, timestep {k}, label {label:?}: {a}, {b} for {slope}, {offset}"
                );
            }
        }
    }
}

/// Halving 8 → 4 → 2 → 1 over a range of w. Where all distributions are as wide, guidance moves only
/// the mean, to (1 + w) μ_c − w μ_∅, and what eight steps do to it is linear in w.
#[test]
fn halvings_keep_every_w() {
    let schedule = Schedule::default();
    let of = |mu| Gaussian { mu, s: 0.4 };
    let classes = [of(0.6), of(-0.4)];
    let all = of(0.1);
    let gaussians = GaussianDenoiser::new(schedule.clone(), classes.to_vec(), all);
    let mut teacher: Box<dyn Denoiser> = Box::new(CfgDenoiser::new(gaussians));
    for steps in [4, 2, 1] {
        let objective = Progressive {
            teacher,
            steps,
            halving: Halving::Deterministic,
            target: TargetForm::Velocities,
            weights: Some(GuidanceWeights::Range([-0.5, 2.0])),
            weighting: LossWeighting::TruncatedSnr,
        };
        let times = (1..=steps).map(|i| schedule.network_time(i as f64 / steps as f64));
        let student = Linear::new(times.collect());
        teacher = Box::new(distil(student, schedule.clone(), &objective, 500, 0.05));
    }
    let eighths: Vec<f64> = (0..=8).rev().map(|i| f64::from(i) / 8.0).collect();
    let level = schedule.at(1.0);
    for (class, gaussian) in classes.iter().enumerate() {
        for w in [-0.5, 0.0, 1.0, 2.0] {
            let guided = of((1.0 + w) * gaussian.mu - w * all.mu);
            let expected = composed(guided, &schedule, &eighths);
            let (a, b) = line(&*teacher, 1.0, Some(class as u32), w);
            // x̂ = α z − σ v̂
            let ours = (level.alpha() - level.sigma() * a, -level.sigma() * b);
            let error = (ours.0 - expected.0).abs().max((ours.1 - expected.1).abs());
            assert!(
                error < 0.02,
                "class {class}, w {w}: {ours:?} for {expected:?}"
            );
        }
    }
}

/// z ↦ slope · z + offset.
type Map = (f64, f64);

/// The jump of a student of `steps` from t = i / `steps`, over two of its steps, as what the students
/// before it, and at last the teacher of `most` steps, do on this way: two jumps of half the length.
/// From the last point there is no second one.
fn jump(gaussian: Gaussian, schedule: &Schedule, steps: usize, most: usize, i: usize) -> Map {
    let grid = |i: usize| i as f64 / steps as f64;
    if steps == most {
        return composed(gaussian, schedule, &[grid(i), grid(i.saturating_sub(2))]);
    }
    let first = jump(gaussian, schedule, 2 * steps, most, 2 * i);
    if i == 1 {
        return first;
    }
    let second = jump(gaussian, schedule, 2 * steps, most, 2 * i - 2);
    (first.0 * second.0, first.1 * second.0 + second.1)
}

/// Mean and variance of what the stochastic sampler of `steps` generates from standard normal noise:
/// each jump is linear, and the noise after it scales by α_u / α_k and adds σ²_{u|k}.
fn generated(gaussian: Gaussian, schedule: &Schedule, steps: usize, most: usize) -> (f64, f64) {
    let level = |i: usize| match i {
        0 => NoiseLevel::CLEAN,
        _ => schedule.at(i as f64 / steps as f64),
    };
    let (mut mean, mut variance) = (0.0, 1.0);
    for i in (1..=steps).rev() {
        let (slope, offset) = jump(gaussian, schedule, steps, most, i);
        mean = slope * mean + offset;
        variance *= slope.powi(2);
        if i > 1 {
            let (low, up) = (level(i - 2), level(i - 1));
            let scale = up.alpha() / low.alpha();
            let added = up.sigma().powi(2) - (scale * low.sigma()).powi(2);
            mean *= scale;
            variance = variance * scale.powi(2) + added;
        }
    }
    (mean, variance)
}

/// Stochastic students 8 → 4 → 2, sampled by the sampler that they are made for.
#[test]
fn stochastic_students_generate_the_moments_of_the_recursion() {
    const IMAGES: u64 = 8192;
    const FIRST: usize = 8;
    let schedule = Schedule::default();
    let gaussians = GaussianDenoiser::new(schedule.clone(), CLASSES.to_vec(), ALL);
    let mut teacher: Box<dyn Denoiser> = Box::new(gaussians);
    for steps in [FIRST / 2, FIRST / 4] {
        let objective = Progressive {
            teacher,
            steps,
            halving: Halving::Stochastic,
            target: TargetForm::Velocities,
            weights: Some(GuidanceWeights::Single(0.0)),
            weighting: LossWeighting::TruncatedSnr,
        };
        let times = (1..=steps).map(|i| schedule.network_time(i as f64 / steps as f64));
        let student = Linear::new(times.collect());
        teacher = Box::new(distil(student, schedule.clone(), &objective, 500, 0.05));
        for (class, &gaussian) in CLASSES.iter().enumerate() {
            let samples: Vec<u64> = (0..IMAGES).collect();
            let noise = random::normal(5, &samples, Purpose::InitialNoise, SHAPE, &device());
            let inputs = Inputs::classes(samples.iter().map(|_| class as u32));
            let images = sampler::stochastic(
                &*teacher,
                noise,
                &inputs,
                &TimeGrid::uniform(steps),
                &StepNoise::new(5, samples),
                &mut sampler::ignore,
            )
            .expect("not stopped");
            let mean = images.clone().mean().into_scalar::<f32>();
            let variance = (images - mean).square().mean().into_scalar::<f32>();
            let expected = generated(gaussian, &schedule, steps, FIRST);
            let of_mean = (f64::from(mean) - expected.0).abs();
            let of_deviation = (f64::from(variance).sqrt() - expected.1.sqrt()).abs();
            assert!(
                of_mean < 0.015 && of_deviation < 0.015,
                "{steps} steps, class {class}: {mean}, {variance} for {expected:?}"
            );
        }
    }
}
