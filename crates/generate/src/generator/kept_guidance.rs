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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Subject;
    use burn::tensor::Device;
    use fewstep_diffusion::analytic::{Gaussian, GaussianDenoiser};
    use fewstep_diffusion::{CfgDenoiser, Prediction, Schedule};
    use fewstep_formats::Model;

    const CLASS: Gaussian = Gaussian { mu: 0.4, s: 0.3 };
    const ALL: Gaussian = Gaussian { mu: -0.1, s: 0.7 };
    const PIXELS: [f64; 2] = [0.8, -0.3];

    fn teacher() -> CfgDenoiser<GaussianDenoiser> {
        let model = GaussianDenoiser::new(Schedule::default(), vec![CLASS], ALL);
        CfgDenoiser::new(model)
    }

    /// A student that follows half of the guidance that it is asked for, in steps of the teacher's
    /// flow from each time to another.
    struct Half {
        teacher: CfgDenoiser<GaussianDenoiser>,
        step: Option<(f64, usize)>,
    }

    impl Denoiser for Half {
        fn predict(&self, z: Tensor<4>, t: &[f64], inputs: &Inputs) -> Prediction {
            let w = inputs.w.iter().flatten().map(|w| w / 2.0).collect();
            let asked = inputs.clone().with_w(w);
            let Some((to, parts)) = self.step else {
                return self.teacher.predict(z, t, &asked);
            };
            let levels = self.schedule().levels(t);
            let reached = landing(&self.teacher, z.clone(), (t[0], to), parts, &asked);
            // v that lands there in one step: z_s = cos δ z + sin δ v.
            let delta = level(to).angle - levels[0].angle;
            let v = (reached - z.clone() * delta.cos()) / delta.sin();
            Prediction::new(fewstep_diffusion::PredictionKind::V, v, z, levels)
        }
        fn schedule(&self) -> &Schedule {
            self.teacher.schedule()
        }
    }

    fn level(t: f64) -> NoiseLevel {
        match t == 0.0 {
            true => NoiseLevel::CLEAN,
            false => Schedule::default().at(t),
        }
    }

    /// Where so many even steps lead.
    fn landing(
        model: &dyn Denoiser,
        z: Tensor<4>,
        (from, to): (f64, f64),
        parts: usize,
        inputs: &Inputs,
    ) -> Tensor<4> {
        (0..parts).fold(z, |z, part| {
            let time =
                |k: usize| from * (parts - k) as f64 / parts as f64 + to * k as f64 / parts as f64;
            let prediction = model.predict(z, &[time(part); PIXELS.len()], inputs);
            prediction.ddim(&[level(time(part + 1)); PIXELS.len()])
        })
    }

    fn compared(step: Option<(f64, usize)>, t: f64, w: f64) -> KeptGuidance {
        let comparison = Comparison {
            student: Box::new(Half {
                teacher: teacher(),
                step,
            }),
            teacher: Box::new(teacher()),
            teacher_steps: 12,
            w,
        };
        let inputs = Inputs::classes([0; PIXELS.len()]);
        let z = per_sample(PIXELS, &Device::flex());
        let to = step.map(|(to, _)| to);
        comparison.at(Step { t, to }, z, &inputs, &inputs)
    }

    /// v is affine in w, and so its change is half of the teacher's at half of w.
    #[test]
    fn half_of_the_guidance_is_half_of_w() {
        for t in [1.0, 0.5, 0.1] {
            let kept = compared(None, t, 3.0);
            assert_eq!(kept.t, t);
            for (along, length) in kept.along.iter().zip(&kept.length) {
                assert!((along / length - 1.5).abs() < 1e-3, "{along} of {length}");
            }
            let level = Schedule::default().at(t);
            for (z, length) in PIXELS.iter().zip(&kept.length) {
                let [(a, b), (a_0, b_0)] = [CLASS, ALL].map(|data| data.velocity(level));
                let change = 3.0 * ((a - a_0) * z + b - b_0);
                assert!((length - change * change).abs() < 1e-3 * length.abs());
            }
            // Without guidance there is none, and it is compared with a change of w = 1.
            let none = compared(None, t, 0.0);
            assert!(none.along.iter().all(|along| along.abs() < 1e-5));
            let ninth = none.length.iter().zip(&kept.length);
            assert!(
                ninth
                    .into_iter()
                    .all(|(one, three)| (9.0 * one / three - 1.0).abs() < 1e-3)
            );
        }
    }

    /// A step is compared with as many of the teacher's small steps as it is long: 12 from noise to
    /// image are 6 for half of the way. Their change is not quite affine in w.
    #[test]
    fn steps_are_compared_with_the_teachers_small_steps() {
        for (t, to, parts) in [(1.0, 0.5, 6), (0.5, 0.25, 3), (0.5, 0.0, 6), (0.05, 0.0, 1)] {
            let kept = compared(Some((to, parts)), t, 3.0);
            let inputs = Inputs::classes([0; PIXELS.len()]);
            let z = per_sample(PIXELS, &Device::flex());
            let reached = |w: f64| {
                let asked = inputs.clone().with_w(vec![w; PIXELS.len()]);
                sums(landing(&teacher(), z.clone(), (t, to), parts, &asked))
            };
            let (plain, half, whole) = (reached(0.0), reached(1.5), reached(3.0));
            let sine = (level(to).angle - level(t).angle).sin();
            for k in 0..PIXELS.len() {
                let [half, whole] = [half[k] - plain[k], whole[k] - plain[k]].map(|d| d / sine);
                let error = (kept.along[k] - 3.0 * half * whole).abs();
                assert!(error < 1e-3 * kept.along[k].abs(), "{t} to {to}: {kept:?}");
                let error = (kept.length[k] - whole * whole).abs();
                assert!(error < 1e-3 * kept.length[k], "{t} to {to}: {kept:?}");
            }
        }
    }

    /// A teacher follows all of the guidance that it is asked for, at every time and in every batch.
    #[test]
    fn a_teacher_keeps_its_own_guidance() {
        let source = crate::ModelSource::find("builtin:fashion-mnist-teacher", None);
        let teacher = source.and_then(|s| s.generator(&Default::default(), &Device::flex()));
        let teacher = teacher.expect("embedded");
        let requests = [3, 7, 9].map(|class| ImageRequest {
            subject: Subject::Class(class),
            ..ImageRequest::new(1, class.into())
        });
        let images = vec![Image::filled(teacher.image_shape(), 90); 3];
        let asked = (&requests[..], &images[..]);
        let kept = teacher.kept_guidance(4, (&teacher, 8), asked, 2.0, 2);
        let kept = kept.expect("nothing is read");
        let times: Vec<f64> = kept.iter().map(|at| at.t).collect();
        assert_eq!(times, TIMES);
        for at in kept {
            assert_eq!((at.along.len(), at.length.len()), (3, 3));
            for (along, length) in at.along.iter().zip(&at.length) {
                assert!(
                    *length > 0.0 && (along / length - 2.0).abs() < 1e-3,
                    "{at:?}"
                );
            }
        }
    }

    /// All steps where there are few, and five of many, in lengths of the sampler.
    #[test]
    fn models_are_asked_at_the_steps_that_they_know() {
        let device = Device::flex();
        let source = crate::ModelSource::find("builtin:fashion-mnist-teacher", None);
        let model = source.and_then(|s| s.model(&device)).expect("embedded");
        let steps = |sampler, steps: usize| {
            let mut model: Model = model.clone();
            model.recipe.role = Role::Student {
                sampler,
                steps: None,
            };
            let generator = Generator::new(model, &device).expect("a generator");
            let known = generator.distilled_steps(steps).into_iter();
            known.map(|step| (step.t, step.to)).collect::<Vec<_>>()
        };
        let to = |t, to| (t, Some(to));
        assert_eq!(
            steps(DistilledFor::Deterministic, 4),
            [to(1.0, 0.75), to(0.75, 0.5), to(0.5, 0.25), to(0.25, 0.0)]
        );
        assert_eq!(
            steps(DistilledFor::Stochastic, 2),
            [to(1.0, 0.0), to(0.5, 0.0)]
        );
        assert_eq!(
            steps(DistilledFor::Stochastic, 4),
            [to(1.0, 0.5), to(0.75, 0.25), to(0.5, 0.0), to(0.25, 0.0)]
        );
        assert_eq!(
            steps(DistilledFor::Consistency, 2),
            [to(1.0, 0.0), to(0.5, 0.0)]
        );
        let of_many: Vec<f64> = steps(DistilledFor::Deterministic, 10)
            .into_iter()
            .map(|(t, _)| t)
            .collect();
        assert_eq!(of_many, [1.0, 0.8, 0.6, 0.4, 0.2]);
        assert_eq!(steps(DistilledFor::Any, 4), TIMES.map(|t| (t, None)));
    }
}
