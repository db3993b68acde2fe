//! The loss of each sample of every objective and weighting, against 64-bit numbers from
//! `tools/golden/distill_losses.py`: not only the optimum counts, but every weight and sign.

use burn::tensor::{Device, Tensor, TensorData};
use fewstep_diffusion::random::{self, Purpose};
use fewstep_diffusion::{
    CfgDenoiser, Denoiser, Inputs, Prediction, PredictionKind, Schedule, per_sample,
};
use fewstep_distill::method::{
    Balanced, Batch, Boundary, Codi, Consistency, ConsistencyTarget, Denoising, Distance, Draws,
    GuidanceDistillation, GuidanceWeights, Halving, LossWeighting, NoisyImages, Objective,
    OdeNoise, OdeStep, Progressive, Solver, Student, TargetForm, TimePairs, Times,
};
use std::collections::BTreeMap;

const BATCH: usize = 12;
const PIXELS: usize = 2;
const SEED: u64 = 3;
/// The first sample, and the first of its update: shared draws are those of the update.
const CLOCK: u64 = 40;
const UPDATE: u64 = 36;
const RANGE: GuidanceWeights = GuidanceWeights::Range([-0.5, 3.0]);
/// The class of samples without one.
const NONE: u32 = 2;

/// v = factor · sin(a z + b t + c · class + shift) + d w.
#[derive(Clone)]
struct Wave {
    schedule: Schedule,
    factor: f64,
    of: [f64; 5],
}

fn wave(factor: f64, of: [f64; 5]) -> Wave {
    Wave {
        schedule: Schedule::default(),
        factor,
        of,
    }
}

fn online() -> Wave {
    wave(1.0, [1.1, 0.7, 0.4, 0.0, 0.15])
}

/// A cosine, as the target network.
fn average() -> Wave {
    wave(1.0, [0.9, -0.5, 0.3, std::f64::consts::FRAC_PI_2, 0.1])
}

fn teacher() -> Wave {
    wave(0.8, [1.3, -0.6, 0.5, 0.0, 0.05])
}

impl Denoiser for Wave {
    fn predict(&self, z: Tensor<4>, t: &[f64], inputs: &Inputs) -> Prediction {
        let [of_z, of_t, of_class, shift, of_w] = self.of;
        let classes = inputs.classes.clone().expect("classes");
        let phase = t
            .iter()
            .zip(classes)
            .map(|(t, class)| of_t * t + of_class * f64::from(class.unwrap_or(NONE)) + shift);
        let w = inputs.w.clone().unwrap_or_else(|| vec![0.0; t.len()]);
        let device = z.device();
        let v = (z.clone() * of_z + per_sample(phase, &device)).sin() * self.factor
            + per_sample(w, &device) * of_w;
        Prediction::new(PredictionKind::V, v, z, self.schedule.levels(t))
    }

    fn schedule(&self) -> &Schedule {
        &self.schedule
    }
}

fn batch() -> Batch {
    let values: Vec<f32> = (0..BATCH * PIXELS)
        .map(|i| (0.8 * (0.7 * i as f64 + 0.3).sin()) as f32)
        .collect();
    let shape = [BATCH, 1, 1, PIXELS];
    Batch {
        images: Tensor::from_data(TensorData::new(values, shape), &Device::flex()),
        inputs: Inputs::classes((0..BATCH).map(|i| (i % 2) as u32)),
        clock: CLOCK,
        update: UPDATE,
    }
}

fn of_sample(objective: &dyn Objective) -> Vec<f64> {
    let student = Student {
        online: &online(),
        target: &average(),
        others: &[],
    };
    let loss = objective.loss(student, &batch(), SEED).per_sample;
    let values: Vec<f32> = loss.into_data().try_to_vec().expect("f32 data");
    values.into_iter().map(f64::from).collect()
}

fn guided(weighting: LossWeighting) -> Box<dyn Objective> {
    Box::new(GuidanceDistillation {
        teacher: CfgDenoiser::new(teacher()),
        weights: RANGE,
        weighting,
        images: NoisyImages::Data,
    })
}

fn denoising(weighting: LossWeighting, label_dropout: f64, w: bool) -> Box<dyn Objective> {
    Box::new(Denoising {
        weighting,
        label_dropout,
        drops_source: false,
        weights: w.then_some(RANGE),
    })
}

fn progressive(halving: Halving, target: TargetForm) -> Box<dyn Objective> {
    Box::new(Progressive {
        teacher: teacher(),
        steps: 4,
        halving,
        weights: Some(RANGE),
        weighting: LossWeighting::TruncatedSnr,
        target,
    })
}

fn pairs(times: Times, shared: bool) -> TimePairs {
    TimePairs {
        intervals: 4,
        times,
        shared,
    }
}

fn consistency(
    times: Times,
    solver: Solver,
    boundary: Boundary,
    distance: Distance,
) -> Box<dyn Objective> {
    Box::new(Consistency {
        teacher: CfgDenoiser::new(teacher()),
        pairs: pairs(times, false),
        solver,
        boundary,
        distance,
        error_weight: LossWeighting::MinSnr(5.0),
        weights: Some(RANGE),
    })
}

fn codi(
    shared: bool,
    consistent: ConsistencyTarget,
    ode_step: OdeStep<Wave>,
    ode_noise: OdeNoise,
    w: bool,
) -> Box<dyn Objective> {
    Box::new(Codi {
        pairs: pairs(Times::Grid, shared),
        consistent,
        boundary: Boundary::Lcm,
        ode_step,
        ode_noise,
        distance: Distance::L2,
        consistency: 0.7,
        error_weight: LossWeighting::MinSnr(5.0),
        guidance_distance: Distance::L1,
        guidance: 1.5,
        weights: w.then_some(RANGE),
    })
}

fn objectives() -> Vec<(&'static str, Box<dyn Objective>)> {
    use LossWeighting::{MinSnr, Snr, SnrPlusOne, TruncatedSnr, Uniform};
    let min = MinSnr(5.0);
    let (velocities, difference) = (TargetForm::Velocities, TargetForm::Difference);
    let (plain, lcm) = (Boundary::Plain, Boundary::Lcm);
    let (noise, image) = (ConsistencyTarget::Noise, ConsistencyTarget::Image);
    let (grid, any) = (Times::Grid, Times::Any);
    let (drawn, predicted) = (OdeNoise::True, OdeNoise::Predicted);
    let huber = Distance::PseudoHuber(0.1);
    vec![
        ("guided uniform", guided(Uniform)),
        ("guided snr", guided(Snr)),
        ("guided truncated-snr", guided(TruncatedSnr)),
        ("guided snr-plus-one", guided(SnrPlusOne)),
        ("guided min-snr", guided(min)),
        (
            "guided balanced",
            Box::new(Balanced {
                objective: guided(TruncatedSnr),
                weights: RANGE,
            }),
        ),
        ("denoising", denoising(TruncatedSnr, 0.4, true)),
        ("denoising labelled", denoising(min, 0.0, false)),
        (
            "progressive deterministic",
            progressive(Halving::Deterministic, velocities),
        ),
        (
            "progressive deterministic",
            progressive(Halving::Deterministic, difference),
        ),
        (
            "progressive stochastic",
            progressive(Halving::Stochastic, velocities),
        ),
        (
            "progressive encoder",
            progressive(Halving::Encoder, velocities),
        ),
        (
            "consistency ddim",
            consistency(grid, Solver::Ddim, plain, Distance::L2),
        ),
        (
            "consistency heun",
            consistency(grid, Solver::Heun, plain, Distance::L1),
        ),
        (
            "consistency any",
            consistency(any, Solver::Ddim, lcm, huber),
        ),
        (
            "codi paper",
            codi(true, noise, OdeStep::Online, drawn, false),
        ),
        (
            "codi average",
            codi(false, noise, OdeStep::Average, predicted, true),
        ),
        (
            "codi base",
            codi(false, image, OdeStep::Base(teacher()), drawn, false),
        ),
    ]
}

/// The draws that the golden numbers were made with.
fn draws() -> BTreeMap<&'static str, Vec<f64>> {
    let batch = batch();
    let draws = Draws::new(SEED, &batch);
    let noise: Vec<f32> = draws
        .noise(&batch.images)
        .into_data()
        .try_to_vec()
        .expect("f32 data");
    let shared = random::uniform(SEED, UPDATE, Purpose::TrainingTime);
    BTreeMap::from([
        ("time", draws.uniform(Purpose::TrainingTime).collect()),
        ("w", draws.uniform(Purpose::GuidanceWeight).collect()),
        ("dropout", draws.uniform(Purpose::LabelDropout).collect()),
        ("shared", vec![shared; BATCH]),
        ("noise", noise.into_iter().map(f64::from).collect()),
    ])
}

#[test]
fn losses_are_those_of_the_formulas() {
    let stored: BTreeMap<&str, Vec<f64>> =
        serde_json::from_str(include_str!("golden/draws.json")).expect("draws");
    for (name, drawn) in draws() {
        let close = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-12;
        let same = drawn.len() == stored[name].len() && drawn.iter().zip(&stored[name]).all(close);
        assert!(same, "{name}: {drawn:?}");
    }
    let golden: BTreeMap<&str, Vec<f64>> =
        serde_json::from_str(include_str!("golden/losses.json")).expect("losses");
    let objectives = objectives();
    assert!(
        golden
            .keys()
            .all(|name| objectives.iter().any(|(known, _)| known == name))
    );
    for (name, objective) in objectives {
        let expected = &golden[name];
        let found = of_sample(&*objective);
        assert_eq!(found.len(), expected.len());
        for (k, (found, expected)) in found.iter().zip(expected).enumerate() {
            let error = (found - expected).abs();
            assert!(
                error <= 2e-4 * expected.abs() + 1e-6,
                "{name}, sample {k}: {found} for {expected}"
            );
        }
    }
}

#[test]
#[ignore = "writes the draws that tools/golden/distill_losses.py reads"]
fn write_the_draws() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/draws.json");
    let text = serde_json::to_string(&draws()).expect("JSON");
    std::fs::write(path, text + "\n").expect("written");
}
