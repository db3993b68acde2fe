//! Training a model that sees a source image (InstructPix2Pix). Losses of both stages of
//! distillation and their gradients, against branches of guidance that are called one by one and
//! put together by hand; what is dropped in fine-tuning.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};
use fewstep_diffusion::random::{self, Purpose};
use fewstep_diffusion::{
    Denoiser, DiffusionModel, Inputs, NoiseLevel, Prediction, PredictionKind, PromptEmbeds,
    Schedule, TextEmbeds,
};
use fewstep_distill::method::{
    Batch, Denoising, Draws, GuidanceWeights, LossWeighting, Objective, Student, Teacher, diffuse,
};
use fewstep_distill::recipe::DistillRecipe;
use fewstep_formats::{Model, Pipeline};
use fewstep_nn::{Backbone, Precision};
use std::path::Path;

const BATCH: usize = 3;
const SEED: u64 = 11;
const CLOCK: u64 = 20;
const RANGE: [f64; 2] = [1.0, 6.0];
const SCALE: f64 = 2.5;
const LATENT: [usize; 3] = [4, 8, 8];
const TOKENS: usize = 5;

const RECIPE: &str = r#"
seed = 1
teacher = "instruct"
w = [1.0, 6.0]
weighting = "snr-plus-one"
student_prediction = "teacher"
data = { kind = "captioned", path = "data", size = 16 }
"#;
const STAGE_ONE: &str = "guided = { updates = 1, optim = { batch = 3, lr = 1e-3 } }";
const HALVING: &str = "progressive = { start_steps = 2, end_steps = 1, updates = 1, optim = { batch = 3, lr = 1e-3 } }";

/// The tiny random model of tools/golden/instruct.py, guided towards the image by [`SCALE`].
fn teacher() -> Model {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../formats/tests/golden/latent/instruct");
    let pipeline = Pipeline::load(&folder, &Device::flex()).expect("a model");
    let mut model = pipeline.model;
    model.recipe.image_guidance = Some(SCALE);
    model
}

fn normal(purpose: Purpose, shape: [usize; 3]) -> Tensor<4> {
    let samples: Vec<u64> = (0..BATCH as u64).collect();
    random::normal(77, &samples, purpose, shape, &Device::flex())
}

fn batch(model: &Model) -> Batch {
    let width = model.network.config().text_width().expect("a text");
    let text = |purpose| {
        let states: Tensor<4> = normal(purpose, [1, TOKENS, width]);
        TextEmbeds {
            states: states.squeeze_dim(1),
            pooled: None,
        }
    };
    Batch {
        images: normal(Purpose::InitialNoise, LATENT),
        inputs: Inputs {
            prompt: Some(PromptEmbeds {
                cond: text(Purpose::SamplerStep(1)),
                uncond: text(Purpose::SamplerStep(2)),
            }),
            concat: Some(normal(Purpose::TrainingNoise, LATENT) * 3.0),
            ..Inputs::default()
        },
        clock: CLOCK,
        update: CLOCK,
    }
}

/// The objective of the only phase of a recipe, and the student where it starts.
fn phase(stage: &str, teacher: &Model) -> (Box<dyn Objective>, Backbone) {
    let recipe: DistillRecipe = toml::from_str(&format!("{RECIPE}{stage}")).expect("valid");
    let phases = recipe.phases().expect("valid");
    let method = &phases[0].method;
    method.check(teacher).expect("fits");
    let of = Teacher {
        model: teacher,
        precision: Precision::F32,
        merged: false,
        lora: None,
    };
    let objective = method.objective(&of).expect("valid");
    (objective, method.student(teacher, 1).expect("valid"))
}

fn denoiser(network: Backbone, teacher: &Model) -> DiffusionModel<Backbone> {
    DiffusionModel {
        network,
        schedule: Schedule::new(teacher.recipe.schedule.clone()).expect("valid"),
        prediction: teacher.recipe.prediction,
    }
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    let values: Vec<f32> = tensor.into_data().try_to_vec().expect("f32 data");
    values.into_iter().map(f64::from).collect()
}

fn tensor(values: &[f64]) -> Tensor<4> {
    let values: Vec<f32> = values.iter().map(|&value| value as f32).collect();
    let [channels, height, width] = LATENT;
    let shape = [BATCH, channels, height, width];
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

/// v of every sample, each branch called by itself: e₀ + s_I (e_I − e₀) + (1 + w) (e_IT − e_I).
fn guided(
    network: &dyn Denoiser,
    z: &Tensor<4>,
    times: &[f64],
    inputs: &Inputs,
    w: &[f64],
) -> Vec<f64> {
    let prompt = inputs.prompt.as_ref().expect("a prompt");
    let concat = inputs.concat.as_ref().expect("a source image");
    let empty = PromptEmbeds {
        cond: prompt.uncond.clone(),
        uncond: prompt.uncond.clone(),
    };
    let mut all = vec![];
    for sample in 0..BATCH {
        let branch = |prompt: &PromptEmbeds, concat: Tensor<4>| {
            let inputs = Inputs {
                prompt: Some(prompt.narrow(sample, 1)),
                concat: Some(concat.narrow(0, sample, 1)),
                ..Inputs::default()
            };
            let z = z.clone().narrow(0, sample, 1);
            values(network.predict(z, &times[sample..=sample], &inputs).v())
        };
        let both = branch(prompt, concat.clone());
        let image = branch(&empty, concat.clone());
        let neither = branch(&empty, concat.zeros_like());
        all.extend((0..both.len()).map(|i| {
            neither[i] + SCALE * (image[i] - neither[i]) + (1.0 + w[sample]) * (both[i] - image[i])
        }));
    }
    all
}

/// Losses of the samples and all gradients of their mean, for a target that is given or the
/// objective's own.
fn losses_and_gradients(
    loss: impl Fn(&dyn Denoiser) -> Tensor<1>,
    network: &Backbone,
    teacher: &Model,
) -> (Vec<f64>, Vec<f64>) {
    struct Collect<'a>(&'a GradientsParams, Vec<f64>);
    impl ModuleVisitor for Collect<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.0.get::<D>(param.id) {
                self.1.extend(values(gradient));
            }
        }
    }
    let online = denoiser(network.clone().unfreeze().train(), teacher);
    let loss = loss(&online);
    let gradients = loss.clone().mean().backward();
    let gradients = GradientsParams::from_grads(gradients, &online.network);
    let mut all = Collect(&gradients, vec![]);
    online.network.visit(&mut all);
    (values(loss.inner()), all.1)
}

fn assert_close(what: &str, ours: &[f64], expected: &[f64]) {
    assert_eq!(ours.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0.0f64, |most, v| most.max(v.abs()));
    for (index, (a, b)) in ours.iter().zip(expected).enumerate() {
        assert!(
            (a - b).abs() < 1e-3 * largest,
            "{what} {index}: {a} for {b}"
        );
    }
}

/// Compares an objective with the plain squared error to a target, at the same times.
fn assert_trains_towards(
    (objective, student): (Box<dyn Objective>, Backbone),
    teacher: &Model,
    (z, times, w, target): (Tensor<4>, Vec<f64>, Vec<f64>, Vec<f64>),
) {
    let batch = batch(teacher);
    let inputs = batch.inputs.clone().with_w(w);
    let by_hand = |online: &dyn Denoiser| -> Tensor<1> {
        let error = online.predict(z.clone(), &times, &inputs).v() - tensor(&target);
        error.square().flatten::<2>(1, 3).mean_dim(1).squeeze_dim(1)
    };
    let ours = |online: &dyn Denoiser| {
        let student = Student {
            online,
            target: online,
            others: &[],
        };
        objective.loss(student, &batch, SEED).per_sample
    };
    let (losses, gradients) = losses_and_gradients(ours, &student, teacher);
    let (expected, of_hand) = losses_and_gradients(by_hand, &student, teacher);
    assert!(expected.iter().all(|loss| *loss > 1e-3), "{expected:?}");
    assert_close("loss", &losses, &expected);
    assert!(of_hand.len() > 1000, "{} gradients", of_hand.len());
    assert_close("gradient", &gradients, &of_hand);
}

/// Stage one, with w and time of each sample.
#[test]
fn stage_one_folds_both_guidances() {
    let teacher = teacher();
    let batch = batch(&teacher);
    let draws = Draws::new(SEED, &batch);
    let frozen = denoiser(teacher.network.clone(), &teacher);
    let times = draws.times(frozen.schedule());
    let w = GuidanceWeights::Range(RANGE).draw(draws);
    let levels = frozen.schedule().levels(&times);
    let z = diffuse(batch.images.clone(), draws.noise(&batch.images), &levels);
    let target = guided(&frozen, &z, &times, &batch.inputs, &w);
    let (objective, student) = phase(STAGE_ONE, &teacher);
    assert_eq!(objective.cost().frozen, 3);
    assert_trains_towards((objective, student), &teacher, (z, times, w, target));
}

/// Without stage one, the two steps of the first halving are those of the guided branches.
#[test]
fn a_halving_without_stage_one_takes_guided_steps() {
    let teacher = teacher();
    let batch = batch(&teacher);
    let draws = Draws::new(SEED, &batch);
    let frozen = denoiser(teacher.network.clone(), &teacher);
    let w = GuidanceWeights::Range(RANGE).draw(draws);
    let schedule = frozen.schedule();
    let [start, middle] = [1.0, 0.5].map(|t| (vec![t; BATCH], schedule.levels(&[t; BATCH])));
    let z = diffuse(batch.images.clone(), draws.noise(&batch.images), &start.1);
    let step = |z: &Tensor<4>, (times, levels): &(Vec<f64>, Vec<NoiseLevel>), to: &[NoiseLevel]| {
        let v = tensor(&guided(&frozen, z, times, &batch.inputs, &w));
        Prediction::new(PredictionKind::V, v, z.clone(), levels.clone()).ddim(to)
    };
    let half = step(&z, &start, &middle.1);
    let end = step(&half, &middle, &[NoiseLevel::CLEAN; BATCH]);
    let turn = NoiseLevel::CLEAN.angle - start.1[0].angle;
    let ends = values(end).into_iter().zip(values(z.clone()));
    let target = ends.map(|(end, z)| (end - turn.cos() * z) / turn.sin());
    let target: Vec<f64> = target.collect();
    let (objective, student) = phase(HALVING, &teacher);
    assert_eq!(objective.cost().frozen, 6);
    let times = start.0.clone();
    assert_trains_towards((objective, student), &teacher, (z, times, w, target));
}

/// A network whose v is its source image and its prompt, so that what was dropped shows.
struct Seen(Schedule);

impl Denoiser for Seen {
    fn predict(&self, z: Tensor<4>, t: &[f64], inputs: &Inputs) -> Prediction {
        let prompt = inputs.prompt.clone().expect("a prompt").cond.states;
        let [samples, ..] = z.dims();
        let prompt = prompt.narrow(1, 0, 1).narrow(2, 0, 1);
        let prompt: Tensor<4> = prompt.reshape([samples, 1, 1, 1]);
        let source = inputs.concat.clone().expect("a source image");
        let v = source + prompt;
        Prediction::new(PredictionKind::V, v, z, self.0.levels(t))
    }

    fn schedule(&self) -> &Schedule {
        &self.0
    }
}

/// Fine-tuning such a model keeps its branches: a share of examples has no caption, no source
/// image, or neither.
#[test]
fn captions_and_source_images_are_dropped_alone_and_together() {
    const SAMPLES: usize = 4000;
    const DROPOUT: f64 = 0.15;
    let ones = || Tensor::<4>::ones([SAMPLES, 1, 1, 1], &Device::flex());
    let text = |value: f64| TextEmbeds {
        states: Tensor::full([SAMPLES, 1, 1], value, &Device::flex()),
        pooled: None,
    };
    let batch = Batch {
        images: ones() * 0.0,
        inputs: Inputs {
            prompt: Some(PromptEmbeds {
                cond: text(10.0),
                uncond: text(0.0),
            }),
            concat: Some(ones()),
            ..Inputs::default()
        },
        clock: CLOCK,
        update: CLOCK,
    };
    let share = |drops_source: bool, seen: f64| {
        let objective = Denoising {
            weighting: LossWeighting::SnrPlusOne,
            label_dropout: DROPOUT,
            drops_source,
            weights: None,
        };
        let model = Seen(Schedule::default());
        let student = Student {
            online: &model,
            target: &model,
            others: &[],
        };
        let draws = Draws::new(SEED, &batch);
        let times = draws.times(model.schedule());
        let noise = values(draws.noise(&batch.images));
        let targets = times.iter().zip(noise);
        let targets = targets.map(|(&t, noise)| model.schedule().at(t).alpha() * noise);
        let losses = values(objective.loss(student, &batch, SEED).per_sample);
        let of_seen = losses.iter().zip(targets).filter(|(loss, target)| {
            let expected = (seen - target).powi(2);
            (*loss - expected).abs() < 1e-3 * (1.0 + expected)
        });
        of_seen.count() as f64 / SAMPLES as f64
    };
    for (drops_source, shares) in [
        (true, [1.0 - 3.0 * DROPOUT, DROPOUT, DROPOUT, DROPOUT]),
        (false, [1.0 - DROPOUT, DROPOUT, 0.0, 0.0]),
    ] {
        for (seen, expected) in [11.0, 1.0, 10.0, 0.0].into_iter().zip(shares) {
            let got = share(drops_source, seen);
            assert!(
                (got - expected).abs() < 0.02,
                "{seen}: {got} for {expected}"
            );
        }
    }
}
