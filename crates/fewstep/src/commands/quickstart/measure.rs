//! Measures teacher and students: the rows of `results.json`.

use super::candidate::{BATCH, Candidate, REFERENCE_STEPS, images};
use super::stages::Stages;
use crate::builtin;
use crate::commands::shared::fidelity::{Fidelity, effective_w, generate_all};
use crate::commands::shared::measure::SampledModel;
use crate::error::{CliResult, IntoCliResult};
use crate::report::{Origin, Row, ToTeacher, read_rows, write_rows};
use fewstep_data::image::Image;
use fewstep_generate::{Generator, ImageRequest};
use fewstep_metrics::{FeatureNetwork, Reference, SmallClassifier, Statistics, frechet_distance};
use std::ops::Range;
use std::path::Path;
use std::rc::Rc;

/// Images of each student that are compared with the teacher's, with every w.
const COMPARED: usize = 40;
/// Those of them on which the effective w is measured, for which the teacher's path from every step of
/// the student to the next is walked with and without guidance.
const WALKED: usize = 10;

/// Measures how far generated images are from real ones, and a student's from its teacher's.
pub(super) struct Evaluator {
    classifier: SmallClassifier,
    reference: Reference,
    samples: usize,
    teacher: Rc<Generator>,
    /// The teacher's images to compare with, of the w that is measured.
    compared: Option<(f64, Vec<Image>)>,
}

impl Evaluator {
    /// The embedded classifier with its reference.
    pub(super) fn new(teacher: Rc<Generator>, samples: usize) -> CliResult<Self> {
        let evaluator = Self {
            classifier: builtin::classifier(teacher.device())?,
            reference: builtin::fashion_mnist_reference()?,
            samples,
            teacher,
            compared: None,
        };
        let (reference, classifier) = (&evaluator.reference, &evaluator.classifier);
        reference.check(classifier).work_error()?;
        Ok(evaluator)
    }

    /// A row for each candidate: from `file` after an interrupted run, from the results in the
    /// program, or measured now. `file` is written after each measurement.
    pub(super) fn rows(
        &mut self,
        candidates: &[Candidate],
        file: &Path,
        stages: &mut Stages,
    ) -> CliResult<Vec<Row>> {
        let mut results = read_rows(file)?;
        let stored = builtin::teacher_rows()?;
        results.extend(stored.into_iter().map(|row| Row {
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
        &mut self,
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
        let fidelity = match candidate.origin {
            Origin::Student | Origin::Matched => {
                Some(self.fidelity(candidate, &in_turn(0..self.compared())?)?)
            }
            Origin::Teacher => None,
        };
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
            weights_hash: sampled.generator.weights_hash().into(),
            fidelity,
            stored: false,
        })
    }

    /// Images of each comparison.
    fn compared(&self) -> usize {
        COMPARED.min(self.samples)
    }

    /// How near the student's images of these requests are to the teacher's.
    fn fidelity(
        &mut self,
        candidate: &Candidate,
        requests: &[ImageRequest],
    ) -> CliResult<ToTeacher> {
        let teacher = SampledModel {
            sampler: self.teacher.default_sampler(),
            generator: self.teacher.clone(),
            steps: REFERENCE_STEPS,
            w: Some(candidate.w),
        };
        let of_teacher = match self.compared.take() {
            Some((w, images)) if w == candidate.w => images,
            _ => generate_all(&teacher, requests, BATCH, &mut |_| {})?,
        };
        let ours = generate_all(&candidate.sampled, requests, BATCH, &mut |_| {})?;
        let walked = WALKED.min(requests.len());
        let with_teacher = (&teacher, &of_teacher[..walked]);
        let requested = &requests[..walked];
        let to_teacher = ToTeacher {
            fidelity: Fidelity::of(&ours, &of_teacher, None)?,
            effective_w: effective_w(&candidate.sampled, with_teacher, requested, BATCH)?,
            teacher_steps: teacher.steps,
            images: requests.len(),
        };
        self.compared = Some((candidate.w, of_teacher));
        Ok(to_teacher)
    }
}
