//! Whole updates of the stepper against the same by hand in 64 bits: clipping, Adam, the average,
//! what the target network is, and batches in parts.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use fewstep_diffusion::{
    Denoiser, DiffusionModel, Inputs, Network, PredictionKind, Schedule, per_sample,
};
use fewstep_distill::method::{Batch, Cost, Loss, Objective, Student};
use fewstep_distill::optim::{Ema, OptimConfig, Stepper};

/// Samples of an update: more than go through the network together.
const BATCH: usize = 40;
const UPDATES: usize = 4;
/// How much less the second parameter counts: its gradients are about as small as Adam's ε.
const SMALL: f64 = 1e-8;

/// v = (p₀ + SMALL p₁) z.
#[derive(Module, Debug)]
struct Scale {
    p: Param<Tensor<1>>,
}

impl Network for Scale {
    fn forward(&self, z: Tensor<4>, _: &[f64], _: &Inputs) -> Tensor<4> {
        let p = |k| -> Tensor<4> { self.p.val().narrow(0, k, 1).reshape([1, 1, 1, 1]) };
        z.clone() * p(0) + z * p(1) * SMALL
    }
}

/// (v̂_θ(x) − ½ v̂_θ⁻(x) − c)², where c is the time that the sample has.
struct Follow;

fn shifts(batch: &Batch) -> Vec<f64> {
    let samples = batch.clock..batch.clock + batch.len() as u64;
    samples.map(|sample| shift(sample as usize)).collect()
}

fn shift(sample: usize) -> f64 {
    0.5 + 0.4 * (1.3 * sample as f64).sin()
}

fn pixel(sample: usize) -> f64 {
    // Later updates have larger images, so that their gradients are clipped by other factors.
    (0.9 * sample as f64).cos() * (1.0 + sample as f64 / BATCH as f64)
}

impl Objective for Follow {
    fn loss(&self, student: Student<'_>, batch: &Batch, _: u64) -> Loss {
        let times = vec![0.5; batch.len()];
        let x = batch.images.clone();
        let of = |model: &dyn Denoiser| model.predict(x.clone(), &times, &batch.inputs).v();
        let target = of(student.target).inner() * 0.5;
        let shift = per_sample(shifts(batch), &x.device());
        let error = (of(student.online) - target - shift).square();
        Loss {
            per_sample: error.mean_dim(3).flatten(0, 3),
            times,
        }
    }

    fn cost(&self) -> Cost {
        Cost::default()
    }
}

fn batch(first: usize, count: usize) -> Batch {
    let values: Vec<f32> = (first..first + count).map(|s| pixel(s) as f32).collect();
    let images = Tensor::from_data(TensorData::new(values, [count, 1, 1, 1]), &Device::flex());
    Batch {
        images,
        inputs: Inputs::default(),
        clock: first as u64,
        update: (first / BATCH * BATCH) as u64,
    }
}

/// Loss, gradient norm and learning rate of each update, and the result.
type Steps = (Vec<[f64; 3]>, [f64; 2]);

fn stepped(optim: &str, micro_batch: usize) -> Steps {
    let mut stepper = stepper(toml::from_str(optim).expect("valid"));
    let reports = (0..UPDATES).map(|update| {
        let parts = (0..BATCH).step_by(micro_batch);
        let parts: Vec<Batch> = parts
            .map(|part| batch(update * BATCH + part, micro_batch))
            .collect();
        let report = stepper.update(&Follow, &parts, 7).expect("finite");
        assert_eq!(report.samples.len(), BATCH);
        assert_eq!(report.exchange, None);
        [report.loss, report.gradient_norm, report.lr]
    });
    (reports.collect(), result(&stepper))
}

fn stepper(config: OptimConfig) -> Stepper<Scale> {
    let p = Tensor::from_data(TensorData::new(vec![0.3f32, 0.2], [2]), &Device::flex());
    let model = DiffusionModel {
        network: Scale {
            p: Param::from_tensor(p),
        },
        schedule: Schedule::default(),
        prediction: PredictionKind::V,
    };
    Stepper::new(model, config, UPDATES as u64)
}

fn result(stepper: &Stepper<Scale>) -> [f64; 2] {
    let values = stepper.result().p.val().into_data();
    let values: Vec<f32> = values.try_to_vec().expect("f32 data");
    [0, 1].map(|k| f64::from(values[k]))
}

/// The same by hand. Weight decay is coupled (Adam) or decoupled (AdamW).
fn by_hand(lr: f64, clip: f64, ema: Option<Ema>, [coupled, decay]: [f64; 2]) -> Steps {
    let (mut p, mut average) = ([0.3, 0.2], [0.3, 0.2]);
    let (mut first, mut second) = ([0.0; 2], [0.0; 2]);
    let mut reports = vec![];
    for update in 0..UPDATES {
        let target = if ema.is_some() { average } else { p };
        let slope = |p: [f64; 2]| p[0] + SMALL * p[1];
        let samples = update * BATCH..(update + 1) * BATCH;
        let error = |s: usize| (slope(p) - 0.5 * slope(target)) * pixel(s) - shift(s);
        let mean = |f: &dyn Fn(usize) -> f64| samples.clone().map(f).sum::<f64>() / BATCH as f64;
        let loss = mean(&|s| error(s).powi(2));
        let gradient = mean(&|s| 2.0 * error(s) * pixel(s));
        let gradient = [gradient, SMALL * gradient];
        let norm = gradient[0].hypot(gradient[1]);
        let rate = lr * (1.0 - update as f64 / UPDATES as f64);
        reports.push([loss, norm, rate]);
        let n = update as i32 + 1;
        for k in 0..2 {
            let g = gradient[k] * (clip / norm).min(1.0) + coupled * p[k];
            first[k] = 0.9 * first[k] + 0.1 * g;
            second[k] = 0.999 * second[k] + 0.001 * g * g;
            let mean = first[k] / (1.0 - 0.9f64.powi(n));
            let square: f64 = second[k] / (1.0 - 0.999f64.powi(n));
            p[k] -= rate * (mean / (square.sqrt() + 1e-8) + decay * p[k]);
        }
        let n = f64::from(n);
        let gamma = match ema {
            None => 0.0,
            Some(Ema::Decay(ema)) => ema.min((1.0 + n) / (10.0 + n)),
            // h is at most 5 % of the n batches so far.
            Some(Ema::HalfLife(h)) => {
                let batch = BATCH as f64;
                0.5f64.powf(batch / h.min(0.05 * n * batch))
            }
        };
        average = [0, 1].map(|k| gamma * average[k] + (1.0 - gamma) * p[k]);
    }
    (reports, average)
}

fn assert_same(ours: &Steps, expected: &Steps, what: &str) {
    let close = |a: f64, b: f64| (a - b).abs() <= 2e-4 * b.abs() + 1e-7;
    for (ours, expected) in ours.0.iter().zip(&expected.0) {
        let same = ours.iter().zip(expected).all(|(&a, &b)| close(a, b));
        assert!(same, "{what}: {ours:?} for {expected:?}");
    }
    let same = (0..2).all(|k| close(ours.1[k], expected.1[k]));
    assert!(same, "{what}: {:?} for {:?}", ours.1, expected.1);
}

#[test]
fn updates_are_those_by_hand() {
    for (clip, ema, decay) in [
        (100.0, None, [0.0, 0.0]),
        (0.05, None, [0.0, 0.0]),
        (0.05, Some(Ema::Decay(0.25)), [0.0, 0.0]),
        (0.2, Some(Ema::Decay(0.9)), [0.0, 0.5]),
        (0.2, None, [0.5, 0.0]),
        (100.0, Some(Ema::HalfLife(1000.0)), [0.0, 0.0]),
    ] {
        let mut optim = format!("batch = {BATCH}\nlr = 0.1\nclip = {clip}");
        match ema {
            None => {}
            Some(Ema::Decay(decay)) => optim += &format!("\nema = {{ decay = {decay} }}"),
            Some(Ema::HalfLife(h)) => optim += &format!("\nema = {{ half-life = {h} }}"),
        }
        let [coupled, decoupled] = decay;
        if coupled > 0.0 {
            optim += &format!("\nweight_decay = {coupled}");
        }
        if decoupled > 0.0 {
            optim += &format!("\noptimizer = \"adamw\"\nweight_decay = {decoupled}");
        }
        let expected = by_hand(0.1, clip, ema, decay);
        // Whole, and in micro-batches.
        for micro_batch in [BATCH, 20, 8] {
            let what = format!("{optim}, parts of {micro_batch}");
            assert_same(&stepped(&optim, micro_batch), &expected, &what);
        }
    }
}

/// What the settings change must be large enough to be seen above.
#[test]
fn every_setting_makes_a_difference() {
    const NONE: [f64; 2] = [0.0; 2];
    let short = Some(Ema::Decay(0.25));
    let base = by_hand(0.1, 0.05, short, NONE);
    for (other, what) in [
        (by_hand(0.1, 100.0, short, NONE), "clipping"),
        (
            by_hand(0.1, 0.05, Some(Ema::Decay(0.9)), NONE),
            "the average",
        ),
        (by_hand(0.1, 0.05, None, NONE), "no average"),
        (
            by_hand(0.1, 0.05, Some(Ema::HalfLife(1000.0)), NONE),
            "a half-life",
        ),
        (by_hand(0.1, 0.05, short, [0.0, 0.5]), "weight decay"),
        (
            by_hand(0.1, 0.05, short, [0.5, 0.0]),
            "coupled weight decay",
        ),
    ] {
        let apart = (0..2).any(|k| (base.1[k] - other.1[k]).abs() > 1e-3);
        assert!(apart, "{what}: {:?}, {:?}", base.1, other.1);
    }
}

/// [`Follow`], with losses too large for 32 bits.
struct TooLarge;

impl Objective for TooLarge {
    fn loss(&self, student: Student<'_>, batch: &Batch, seed: u64) -> Loss {
        let loss = Follow.loss(student, batch, seed);
        Loss {
            per_sample: loss.per_sample * 1e38 * 1e3,
            ..loss
        }
    }

    fn cost(&self) -> Cost {
        Cost::default()
    }
}

/// What is not finite is named with its update and the samples of it, and moves nothing.
#[test]
fn updates_that_are_not_finite_are_not_made() {
    let mut stepper = stepper(OptimConfig::of(BATCH, 0.1));
    let first = [batch(0, BATCH)];
    stepper.update(&Follow, &first, 7).expect("finite");
    let before = result(&stepper);
    let second = [batch(BATCH, 30), batch(BATCH + 30, 10)];
    let refused = stepper.update(&TooLarge, &second, 7);
    let error = refused.expect_err("an infinite loss");
    assert_eq!((error.update, error.what), (2, "loss"));
    assert_eq!((error.first, error.last), (40, 79));
    assert!(!error.value.is_finite());
    assert_eq!(result(&stepper), before);
    stepper.update(&Follow, &second, 7).expect("finite again");
}
