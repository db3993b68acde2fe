//! How much of the guidance that it is asked for a model follows, by time.

use super::{Generator, guided};
use crate::{GenerateError, ImageRequest};
use burn::tensor::Tensor;
use fewstep_data::image::Image;
use fewstep_diffusion::random::{self, Purpose};
use fewstep_diffusion::{Denoiser, DistilledFor, Inputs, NoiseLevel, Role, per_sample};
use fewstep_kernels::device::Placement;

/// Times at which models for any number of steps are asked.
const TIMES: [f64; 5] = [1.0, 0.75, 0.5, 0.25, 0.1];

/// Grid points at which models for a number of steps are asked, at most.
const POINTS: usize = 5;

/// What a model does at one time with the guidance that it is asked for. Its effective w is the sum
/// of `along` over that of `length`.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptGuidance {
    /// The time, in (0, 1].
    pub t: f64,
    /// Of each image: w times the product of the model's change and the teacher's. The change is
    /// that from the teacher without guidance, to the model or to the teacher guided with w.
    pub along: Vec<f64>,
    /// Of each image: the square of the teacher's change.
    pub length: Vec<f64>,
}

/// A step that a model was distilled for: from t to an earlier time, or none where it predicts the
/// velocity at t.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Step {
    t: f64,
    to: Option<f64>,
}

impl Generator {
    /// Compares this model's velocity with that of its teacher with and without guidance, on noisy
    /// versions of images that belong to requests: all with guidance weight `w`; for 0, against the
    /// teacher's change from 0 to 1. A model for `steps` steps is compared with the velocity of one
    /// step that lands where the teacher's small steps do, of which `teacher_steps` go from noise to
    /// image.
    ///
    /// # Errors
    /// When a text encoder cannot be read, or the teacher's schedule makes no sense.
    pub fn kept_guidance(
        &self,
        steps: usize,
        (teacher, teacher_steps): (&Generator, usize),
        (requests, images): (&[ImageRequest], &[Image]),
        w: f64,
        batch: usize,
    ) -> Result<Vec<KeptGuidance>, GenerateError> {
        self.prepare(requests, "")?;
        teacher.prepare(requests, "")?;
        let comparison = Comparison {
            student: guided(&self.model)?,
            teacher: guided(&teacher.model)?,
            teacher_steps,
            w,
        };
        let steps = self.distilled_steps(steps);
        let placement = Placement::of(&self.device);
        let part = batch.min(placement.share(requests.len())).max(1);
        let parts: Vec<_> = requests.chunks(part).zip(images.chunks(part)).collect();
        let compared: Vec<Result<_, GenerateError>> = placement.map(parts, |(requests, images)| {
            let x = self.encode_images(images);
            let [_, channels, height, width] = x.dims();
            let inputs = self.all_inputs(requests, "", [height, width])?;
            let of_teacher = teacher.all_inputs(requests, "", [height, width])?;
            let keys: Vec<(u64, u64)> = requests.iter().map(|r| (r.seed, r.index)).collect();
            let shape = [channels, height, width];
            let noise = random::normal_of(&keys, Purpose::TrainingNoise, shape, &self.device);
            let at = |step: &Step| {
                let z = self.noised(x.clone(), noise.clone(), step.t);
                comparison.at(*step, z, &inputs, &of_teacher)
            };
            Ok(steps.iter().map(at).collect::<Vec<_>>())
        });
        let mut joined: Vec<KeptGuidance> = vec![];
        for part in compared {
            let part: Vec<KeptGuidance> = part?;
            match joined.is_empty() {
                true => joined = part,
                false => joined.iter_mut().zip(part).for_each(|(all, more)| {
                    all.along.extend(more.along);
                    all.length.extend(more.length);
                }),
            }
        }
        Ok(joined)
    }

    /// The steps that the model was distilled for, some of them where there are many.
    fn distilled_steps(&self, steps: usize) -> Vec<Step> {
        let length = match self.model.recipe.role {
            Role::Teacher
            | Role::Student {
                sampler: DistilledFor::Any | DistilledFor::Encoder,
                ..
            } => return TIMES.map(|t| Step { t, to: None }).to_vec(),
            Role::Student {
                sampler: DistilledFor::Deterministic,
                ..
            } => 1,
            Role::Student {
                sampler: DistilledFor::Stochastic,
                ..
            } => 2,
            Role::Student {
                sampler: DistilledFor::Consistency,
                ..
            } => steps,
        };
        let points = steps.min(POINTS);
        let time = |index: usize| index as f64 / steps as f64;
        let point = |k: usize| {
            let index = steps - k * steps / points;
            Step {
                t: time(index),
                to: Some(time(index.saturating_sub(length))),
            }
        };
        (0..points).map(point).collect()
    }
}

/// A model and its teacher, neither of them clipped.
struct Comparison {
    student: Box<dyn Denoiser + Send>,
    teacher: Box<dyn Denoiser + Send>,
    teacher_steps: usize,
    w: f64,
}

impl Comparison {
    fn at(&self, step: Step, z: Tensor<4>, student: &Inputs, teacher: &Inputs) -> KeptGuidance {
        let [batch, ..] = z.dims();
        let with = |inputs: &Inputs, w: f64| inputs.clone().with_w(vec![w; batch]);
        let times = vec![step.t; batch];
        let asked = with(student, self.w);
        let student = self.student.predict(z.clone(), &times, &asked).v();
        // Without guidance there is no change to go by: the direction is that of w = 1.
        let unit = if self.w == 0.0 { 1.0 } else { self.w };
        let [plain, guided] =
            [0.0, unit].map(|w| self.teacher_velocity(step, z.clone(), &with(teacher, w)));
        let change = guided - plain.clone();
        KeptGuidance {
            t: step.t,
            along: sums((student - plain) * change.clone() * unit),
            length: sums(change.square()),
        }
    }

    /// The velocity at t, or that of the one step from t that lands where the teacher's steps do.
    fn teacher_velocity(&self, step: Step, z: Tensor<4>, inputs: &Inputs) -> Tensor<4> {
        let [batch, ..] = z.dims();
        let Some(to) = step.to else {
            return self.teacher.predict(z, &vec![step.t; batch], inputs).v();
        };
        let parts = (((step.t - to) * self.teacher_steps as f64).round() as usize).max(1);
        let time = |k: usize| step.t + (to - step.t) * k as f64 / parts as f64;
        let schedule = self.teacher.schedule();
        let level = |k: usize| match k == parts && to == 0.0 {
            true => NoiseLevel::CLEAN,
            false => schedule.at(time(k)),
        };
        let end = (0..parts).fold(z.clone(), |z, k| {
            let prediction = self.teacher.predict(z, &vec![time(k); batch], inputs);
            prediction.ddim(&vec![level(k + 1); batch])
        });
        let turns = vec![level(parts).angle - schedule.at(step.t).angle; batch];
        let of = |f: fn(f64) -> f64| per_sample(turns.iter().copied().map(f), &z.device());
        (end - z.clone() * of(f64::cos)) / of(f64::sin)
    }
}

/// The sum over each image.
fn sums(values: Tensor<4>) -> Vec<f64> {
    let sums: Tensor<2> = values.flatten::<2>(1, 3).sum_dim(1);
    sums.into_data().iter::<f64>().collect()
}
