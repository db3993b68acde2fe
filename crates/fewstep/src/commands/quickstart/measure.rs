//! How good teacher and students are: the rows of `results.json`.

use super::stages::Stages;
use crate::builtin;
use crate::failure::{Blame, CliResult};
use crate::report::{Origin, Row, plural, read_rows, write_rows};
use burn::tensor::Device;
use fewstep::{Generator, Request, SamplerConfig};
use fewstep_data::image::Image;
use fewstep_diffusion::Role;
use fewstep_distill::run::{Method, Phase};
use fewstep_formats::Model;
use fewstep_metrics::{
    FeatureNetwork, Images, Reference, SmallClassifier, Statistics, frechet_distance,
};
use std::path::Path;
use std::rc::Rc;
use std::time::Instant;

/// Steps of the teacher to compare with, the most expensive first.
const TEACHER_STEPS: [usize; 3] = [STORED_STEPS, 8, 4];
/// The steps of the teacher that would take minutes: they are measured only where the program has no measurement.
const STORED_STEPS: usize = 64;
/// Students for more steps than this are only on the way to the others.
const STUDENT_STEPS: usize = 8;
/// Images per network call, and the seed: as `fewstep eval` has them unless told otherwise, so that it measures the
/// same images.
const BATCH: usize = 64;
const SEED: u64 = 0;

/// One way to sample one model.
pub(super) struct Subject {
    pub(super) generator: Rc<Generator>,
    pub(super) origin: Origin,
    pub(super) sampler: SamplerConfig,
    pub(super) steps: usize,
    pub(super) w: f64,
}

impl Subject {
    /// How many there will be.
    pub(super) fn count(phases: &[Phase]) -> usize {
        let shown = |phase: &&Phase| match phase.method {
            Method::Progressive { steps, .. } => steps <= STUDENT_STEPS,
            _ => false,
        };
        TEACHER_STEPS.len() + phases.iter().filter(shown).count()
    }

    /// The teacher at each of its steps, then each student of few steps at its own; all with the students' default w.
    pub(super) fn all(teacher: &Model, models: &[Model], device: &Device) -> CliResult<Vec<Self>> {
        let w = models
            .last()
            .map_or(0.0, |student| student.recipe.default_w());
        let subject = |generator: &Rc<Generator>, origin, steps| Self {
            sampler: generator.default_sampler(),
            generator: generator.clone(),
            origin,
            steps,
            w,
        };
        let generator = Rc::new(Generator::new(teacher.clone(), device).blame_input()?);
        let mut subjects: Vec<Self> = TEACHER_STEPS
            .iter()
            .map(|steps| subject(&generator, Origin::Teacher, *steps))
            .collect();
        for model in models {
            if let Role::Student {
                steps: Some(steps @ ..=STUDENT_STEPS),
                ..
            } = model.recipe.role
            {
                let generator = Rc::new(Generator::new(model.clone(), device).blame_input()?);
                subjects.push(subject(&generator, Origin::Student, steps));
            }
        }
        Ok(subjects)
    }

    /// Its name in progress bars.
    fn name(&self) -> String {
        format!("{}, {}", self.origin.name(), plural(self.steps, "step"))
    }

    /// Network calls for one image.
    fn network_calls(&self) -> usize {
        self.generator
            .network_calls(self.sampler, self.steps, Some(self.w))
    }

    /// An image of each class of the list, and the seconds that each took. `progress` hears how many are done.
    pub(super) fn draw(
        &self,
        classes: Vec<Option<u32>>,
        progress: &mut (dyn FnMut(usize) + Send),
    ) -> CliResult<(Vec<Image>, f64)> {
        let request = Request {
            classes,
            first: 0,
            seed: SEED,
            steps: self.steps,
            sampler: self.sampler,
            w: Some(self.w),
            batch: BATCH,
        };
        let started = Instant::now();
        let images = self.generator.draw(&request, progress).blame_input()?;
        let seconds = started.elapsed().as_secs_f64() / images.len().max(1) as f64;
        Ok((images, seconds))
    }

    fn is_row(&self, row: &Row) -> bool {
        (row.model, row.steps, row.w) == (self.origin, self.steps, self.w)
            && row.sampler == self.sampler.name()
    }
}

/// Measures how far drawn images are from real ones.
pub(super) struct Judge {
    classifier: SmallClassifier,
    reference: Reference,
    samples: usize,
}

impl Judge {
    /// The embedded classifier with its reference.
    pub(super) fn new(device: &Device, samples: usize) -> CliResult<Self> {
        let judge = Self {
            classifier: builtin::classifier(device)?,
            reference: builtin::fashion_mnist_reference()?,
            samples,
        };
        judge.reference.check(&judge.classifier).blame_work()?;
        Ok(judge)
    }

    /// A row for each subject: from `file` where an interrupted run left it, from what is stored in the program, else
    /// measured; `file` is written after each measurement.
    pub(super) fn rows(
        &self,
        subjects: &[Subject],
        file: &Path,
        stages: &mut Stages,
    ) -> CliResult<Vec<Row>> {
        let mut known = read_rows(file)?;
        let stored = builtin::teacher_rows()?
            .into_iter()
            .filter(|row| row.steps == STORED_STEPS);
        known.extend(stored.map(|row| Row {
            stored: true,
            ..row
        }));
        let features = self.classifier.id().to_string();
        known.retain(|row| row.samples == self.samples && row.features == features);
        let mut rows = vec![];
        for subject in subjects {
            match known.iter().find(|row| subject.is_row(row)) {
                Some(row) => {
                    stages.skip();
                    rows.push(row.clone());
                }
                None => {
                    rows.push(self.measure(subject, features.clone(), stages)?);
                    write_rows(file, &rows)?;
                }
            }
        }
        Ok(rows)
    }

    fn measure(&self, subject: &Subject, features: String, stages: &mut Stages) -> CliResult<Row> {
        let stage = stages.start(&subject.name(), self.samples as u64, "images", 0);
        let classes = subject.generator.model().recipe.classes.len();
        let in_turn = (0..self.samples).map(|i| Some(i.checked_rem(classes)? as u32));
        let (images, seconds_per_image) =
            subject.draw(in_turn.collect(), &mut |done| stage.reach(done))?;
        let fid = self.distance(&images)?;
        stage.finish(&format!("{} {fid:.2}", self.classifier.id().fid_label()));
        Ok(Row {
            model: subject.origin,
            sampler: subject.sampler.name(),
            steps: subject.steps,
            w: subject.w,
            fid,
            network_calls: subject.network_calls(),
            seconds_per_image,
            samples: self.samples,
            features,
            stored: false,
        })
    }

    fn distance(&self, images: &[Image]) -> CliResult<f64> {
        let pixels: Vec<u8> = images
            .iter()
            .flat_map(|image| &image.pixels)
            .copied()
            .collect();
        let [channels, height, width] = images.first().map_or([0; 3], |image| {
            [image.shape.channels, image.shape.height, image.shape.width]
        });
        let images = Images::new(channels, height, width, &pixels).blame_work()?;
        let features = self.classifier.features(&images).blame_work()?;
        let drawn = Statistics::of(&features).blame_work()?;
        frechet_distance(&drawn, &self.reference.statistics).blame_work()
    }
}
