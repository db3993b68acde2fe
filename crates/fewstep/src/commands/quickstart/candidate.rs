//! What quickstart compares: the teacher and the students, each with several w.

use crate::commands::shared::measure::SampledModel;
use crate::error::CliResult;
use crate::numbers::plural;
use crate::report::{Origin, Row};
use fewstep_data::image::Image;
use fewstep_diffusion::{Guidance, Role};
use fewstep_distill::run::Phase;
use fewstep_formats::Model;
use fewstep_generate::{Generator, ImageRequest};
use std::rc::Rc;
use std::time::Instant;

/// Steps of the teacher to compare with, the most expensive first.
const TEACHER_STEPS: [usize; 3] = [REFERENCE_STEPS, 8, 4];
/// The teacher's steps that students are compared with, at every w; the others are for the default.
pub(super) const REFERENCE_STEPS: usize = 64;
/// Students for more steps than this are only intermediate.
const STUDENT_STEPS: usize = 8;
/// Images per network call, and the seed: the defaults of `fewstep eval`, so that it measures the
/// same images.
pub(super) const BATCH: usize = 64;
const SEED: u64 = 0;

/// The weights of guidance that quickstart measures with.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Weights {
    all: Vec<f64>,
    /// The students' default, with which the report's images are.
    pub(super) default: f64,
}

impl Weights {
    /// Those asked for that the students are for, each once, and the students' default.
    pub(super) fn of(students: Guidance, asked: &[f64]) -> Self {
        let default = match students {
            Guidance::Input { default, .. } => default,
            Guidance::Fixed { w } => w,
            Guidance::None | Guidance::ClassifierFree => 0.0,
        };
        let asked = asked.iter().copied().filter(|w| is_for(students, *w));
        let mut all: Vec<f64> = asked.chain([default]).collect();
        all.sort_by(f64::total_cmp);
        all.dedup();
        Self { all, default }
    }

    /// Whether this weight is measured with.
    pub(super) fn contains(&self, w: f64) -> bool {
        self.all.contains(&w)
    }
}

/// Whether students with this guidance are for this weight.
fn is_for(students: Guidance, w: f64) -> bool {
    match students {
        Guidance::Input { w_min, w_max, .. } => (w_min..=w_max).contains(&w),
        Guidance::Fixed { w: only } => w == only,
        Guidance::None | Guidance::ClassifierFree => w == 0.0,
    }
}

/// The teacher or a student, at one number of steps and one w.
pub(super) struct Candidate {
    pub(super) sampled: SampledModel,
    pub(super) origin: Origin,
    pub(super) w: f64,
}

impl Candidate {
    /// How many there will be. `matched` is the number of matched students and their guidance.
    pub(super) fn count(
        phases: &[Phase],
        matched: Option<(usize, Guidance)>,
        weights: &Weights,
    ) -> usize {
        let shown = |phase: &&Phase| match phase.method.steps() {
            Some(steps) => steps <= STUDENT_STEPS,
            None => false,
        };
        let students = phases.iter().filter(shown).count();
        let of_matched = |guidance| weights.all.iter().filter(move |w| is_for(guidance, **w));
        let matched = matched.map_or(0, |(number, guidance)| {
            number * of_matched(guidance).count()
        });
        weights.all.len() * (1 + students) + matched + TEACHER_STEPS.len() - 1
    }

    /// For each w the teacher at each of its steps, then each plain student of few steps at its own,
    /// then each matched one where it is for this w.
    pub(super) fn all(
        teacher: &Rc<Generator>,
        (plain, matched): (&[Model], &[Model]),
        weights: &Weights,
    ) -> CliResult<Vec<Self>> {
        let mut students = vec![];
        let plain = plain.iter().map(|model| (Origin::Student, model));
        let matched = matched.iter().map(|model| (Origin::Matched, model));
        for (origin, model) in plain.chain(matched) {
            if let Role::Student {
                steps: Some(steps @ ..=STUDENT_STEPS),
                ..
            } = model.recipe.role
            {
                let generator = Rc::new(Generator::new(model.clone(), teacher.device())?);
                students.push((generator, origin, steps, model.recipe.guidance));
            }
        }
        let mut candidates = vec![];
        for &w in &weights.all {
            let candidate = |generator: &Rc<Generator>, origin, steps| Self {
                sampled: SampledModel {
                    sampler: generator.default_sampler(),
                    generator: generator.clone(),
                    steps,
                    w: Some(w),
                },
                origin,
                w,
            };
            let steps = TEACHER_STEPS.iter();
            let steps = steps.filter(|steps| w == weights.default || **steps == REFERENCE_STEPS);
            candidates.extend(steps.map(|steps| candidate(teacher, Origin::Teacher, *steps)));
            let students = students.iter().filter(|student| is_for(student.3, w));
            candidates.extend(students.map(|(g, origin, steps, _)| candidate(g, *origin, *steps)));
        }
        Ok(candidates)
    }

    /// Its name in progress bars.
    pub(super) fn name(&self) -> String {
        let steps = plural(self.sampled.steps, "step");
        format!("{}, {steps}, w = {}", self.origin.name(), self.w)
    }

    /// An image of each class of the list, and the seconds per image. `progress` gets the number
    /// that are done.
    pub(super) fn generate(
        &self,
        classes: &[u32],
        progress: &mut (dyn FnMut(usize) + Send),
    ) -> CliResult<(Vec<Image>, f64)> {
        let images = images(classes.iter().copied().map(Some), 0);
        let started = Instant::now();
        let images = self.sampled.generate(images, BATCH, progress)?;
        let seconds = started.elapsed().as_secs_f64() / images.len().max(1) as f64;
        Ok((images, seconds))
    }

    /// Whether the row is about it, and complete.
    pub(super) fn is_row(&self, row: &Row) -> bool {
        let sampled = &self.sampled;
        (row.model, row.steps, row.w) == (self.origin, sampled.steps, self.w)
            && row.sampler == sampled.sampler.name()
            && row.weights_hash == sampled.generator.weights_hash()
            && (row.model == Origin::Teacher || row.fidelity.is_some())
    }
}

/// Images of these classes, numbered from `first`.
pub(super) fn images(
    classes: impl Iterator<Item = Option<u32>>,
    first: usize,
) -> Vec<ImageRequest> {
    let image = |(index, class): (u64, Option<u32>)| ImageRequest {
        subject: class.into(),
        ..ImageRequest::new(SEED, index)
    };
    (first as u64..).zip(classes).map(image).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_those_that_the_students_are_for() {
        let asked = [2.0, 0.5, 0.3, 0.5];
        let range = |w_min, w_max, default| {
            let students = Guidance::Input {
                w_min,
                w_max,
                default,
            };
            Weights::of(students, &asked).all
        };
        assert_eq!(range(0.0, 4.0, 1.0), [0.3, 0.5, 1.0, 2.0]);
        assert_eq!(range(0.4, 0.8, 0.8), [0.5, 0.8]);
        assert_eq!(range(3.0, 4.0, 3.0), [3.0]);
        let fixed = Weights::of(Guidance::Fixed { w: 1.5 }, &asked);
        assert_eq!(fixed.all, [1.5]);
        assert_eq!(Weights::of(Guidance::None, &[0.5]).all, [0.0]);
    }
}
