//! Measures teacher and students: the rows of `results.json`.

use super::stages::Stages;
use crate::builtin;
use crate::commands::shared::measure::SampledModel;
use crate::error::{CliResult, IntoCliResult};
use crate::numbers::plural;
use crate::report::{Origin, Row, read_rows, write_rows};
use burn::tensor::Device;
use fewstep_data::image::Image;
use fewstep_diffusion::Role;
use fewstep_distill::run::Phase;
use fewstep_formats::Model;
use fewstep_generate::{Generator, ImageRequest};
use fewstep_metrics::{FeatureNetwork, Reference, SmallClassifier, Statistics, frechet_distance};
use std::ops::Range;
use std::path::Path;
use std::rc::Rc;
use std::time::Instant;

/// Steps of the teacher to compare with, the most expensive first.
const TEACHER_STEPS: [usize; 3] = [STORED_STEPS, 8, 4];
/// The teacher's steps that take minutes to measure: the program has stored results for them.
const STORED_STEPS: usize = 64;
/// Students for more steps than this are only intermediate.
const STUDENT_STEPS: usize = 8;
/// Images per network call, and the seed: the defaults of `fewstep eval`, so that it measures the
/// same images.
const BATCH: usize = 64;
const SEED: u64 = 0;

/// The teacher or a student, at one number of steps.
pub(super) struct Candidate {
    pub(super) sampled: SampledModel,
    pub(super) origin: Origin,
    w: f64,
}

impl Candidate {
    /// How many there will be.
    pub(super) fn count(phases: &[Phase]) -> usize {
        let shown = |phase: &&Phase| match phase.method.steps() {
            Some(steps) => steps <= STUDENT_STEPS,
            None => false,
        };
        TEACHER_STEPS.len() + phases.iter().filter(shown).count()
    }

    /// The teacher at each of its steps, then each student of few steps at its own; all with the
    /// students' default w.
    pub(super) fn all(teacher: &Model, models: &[Model], device: &Device) -> CliResult<Vec<Self>> {
        let w = models
            .last()
            .map_or(0.0, |student| student.recipe.default_w());
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
        let generator = Rc::new(Generator::new(teacher.clone(), device)?);
        let mut candidates: Vec<Self> = TEACHER_STEPS
            .iter()
            .map(|steps| candidate(&generator, Origin::Teacher, *steps))
            .collect();
        for model in models {
            if let Role::Student {
                steps: Some(steps @ ..=STUDENT_STEPS),
                ..
            } = model.recipe.role
            {
                let generator = Rc::new(Generator::new(model.clone(), device)?);
                candidates.push(candidate(&generator, Origin::Student, steps));
            }
        }
        Ok(candidates)
    }

    /// Its name in progress bars.
    fn name(&self) -> String {
        let steps = plural(self.sampled.steps, "step");
        format!("{}, {steps}", self.origin.name())
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

    fn is_row(&self, row: &Row) -> bool {
        let sampled = &self.sampled;
        (row.model, row.steps, row.w) == (self.origin, sampled.steps, self.w)
            && row.sampler == sampled.sampler.name()
    }
}

/// Images of these classes, numbered from `first`.
fn images(classes: impl Iterator<Item = Option<u32>>, first: usize) -> Vec<ImageRequest> {
    let image = |(index, class): (u64, Option<u32>)| ImageRequest {
        subject: class.into(),
        ..ImageRequest::new(SEED, index)
    };
    (first as u64..).zip(classes).map(image).collect()
}

/// Measures how far generated images are from real ones.
pub(super) struct Evaluator {
    classifier: SmallClassifier,
    reference: Reference,
    samples: usize,
}

impl Evaluator {
    /// The embedded classifier with its reference.
    pub(super) fn new(device: &Device, samples: usize) -> CliResult<Self> {
        let evaluator = Self {
            classifier: builtin::classifier(device)?,
            reference: builtin::fashion_mnist_reference()?,
            samples,
        };
        let (reference, classifier) = (&evaluator.reference, &evaluator.classifier);
        reference.check(classifier).work_error()?;
        Ok(evaluator)
    }

    /// A row for each candidate: from `file` after an interrupted run, from the results in the
    /// program, or measured now. `file` is written after each measurement.
    pub(super) fn rows(
        &self,
        candidates: &[Candidate],
        file: &Path,
        stages: &mut Stages,
    ) -> CliResult<Vec<Row>> {
        let mut results = read_rows(file)?;
        let stored = builtin::teacher_rows()?
            .into_iter()
            .filter(|row| row.steps == STORED_STEPS);
        results.extend(stored.map(|row| Row {
            stored: true,
            ..row
        }));
        let features = self.classifier.id().to_string();
        results.retain(|row| row.samples == self.samples && row.features == features);
        let mut rows = vec![];
        for candidate in candidates {
            match results.iter().find(|row| candidate.is_row(row)) {
                Some(row) => {
                    stages.skip();
                    rows.push(row.clone());
                }
                None => {
                    rows.push(self.measure(candidate, features.clone(), stages)?);
                    write_rows(file, &rows)?;
                }
            }
        }
        Ok(rows)
    }

    fn measure(
        &self,
        candidate: &Candidate,
        features: String,
        stages: &mut Stages,
    ) -> CliResult<Row> {
        let sampled = &candidate.sampled;
        let stage = stages.start(&candidate.name(), self.samples as u64, "images", 0);
        let classes = sampled.generator.model().recipe.classes.len();
        let in_turn = |range: Range<usize>| {
            let first = range.start;
            let classes = range.map(|i| Some(i.checked_rem(classes)? as u32));
            Ok(images(classes, first))
        };
        let measured = sampled.measure(
            self.samples,
            &in_turn,
            BATCH,
            &self.classifier,
            &mut |_, _| Ok(()),
            &mut |done| stage.reach(done),
        )?;
        let statistics = Statistics::of(&measured.features).work_error()?;
        let fid = frechet_distance(&statistics, &self.reference.statistics).work_error()?;
        stage.finish(&format!("{} {fid:.2}", self.classifier.id().fid_label()));
        Ok(Row {
            model: candidate.origin,
            sampler: sampled.sampler.name(),
            steps: sampled.steps,
            w: candidate.w,
            fid,
            network_calls: sampled.network_calls(),
            seconds_per_image: measured.seconds_per_image,
            samples: self.samples,
            features,
            stored: false,
        })
    }
}
