//! Jobs that were submitted, and those that can be asked for by their id.

use crate::engine::{Job, Tracked};
use crate::error::ApiError;
use crate::images::Format;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long the images of a job are kept, and of how many jobs.
const KEPT: Duration = Duration::from_secs(600);
const MOST: usize = 256;

/// A job in the queue, and what is to be said about it in the answer.
#[derive(Clone)]
pub(crate) struct Submitted {
    pub(crate) job: Arc<Job>,
    pub(crate) notes: Arc<Vec<String>>,
}

impl Submitted {
    /// The text about an image of the job.
    pub(crate) fn parameters(&self, number: usize) -> String {
        let job = &self.job;
        let generator = &job.model.generator;
        let loras: Vec<String> = job.model.loras().collect();
        generator.parameters(&job.model.name, &loras, &job.request, number)
    }
}

/// Images that are restyled, and what is to be said about them in the answer.
pub(crate) struct Restyling {
    pub(crate) tracked: Arc<Tracked>,
    /// Names of the encoder and of the decoder.
    pub(crate) models: [String; 2],
    /// Steps of the encoder and of the decoder.
    pub(crate) steps: [usize; 2],
    /// The weights that every image is decoded with; none for models without guidance.
    pub(crate) w: Vec<Option<f64>>,
    pub(crate) notes: Vec<String>,
}

/// A job of either kind, with the format of its images.
#[derive(Clone)]
pub(crate) struct Task {
    pub(crate) kind: TaskKind,
    pub(crate) format: Format,
}

/// What a job does.
#[derive(Clone)]
pub(crate) enum TaskKind {
    Generate(Submitted),
    Restyle(Arc<Restyling>),
}

impl Task {
    pub(crate) fn generate(submitted: Submitted, format: Format) -> Self {
        let kind = TaskKind::Generate(submitted);
        Self { kind, format }
    }

    pub(crate) fn restyle(restyling: Restyling, format: Format) -> Self {
        let kind = TaskKind::Restyle(Arc::new(restyling));
        Self { kind, format }
    }

    pub(crate) fn tracked(&self) -> &Arc<Tracked> {
        match &self.kind {
            TaskKind::Generate(submitted) => &submitted.job.tracked,
            TaskKind::Restyle(restyling) => &restyling.tracked,
        }
    }

    /// Steps that each image takes.
    pub(crate) fn steps(&self) -> usize {
        match &self.kind {
            TaskKind::Generate(submitted) => submitted.job.request.steps,
            TaskKind::Restyle(restyling) => restyling.steps.iter().sum(),
        }
    }

    /// The text about an image, if its file has one.
    pub(crate) fn parameters(&self, image: usize) -> Option<String> {
        match &self.kind {
            TaskKind::Generate(submitted) => Some(submitted.parameters(image)),
            TaskKind::Restyle(_) => None,
        }
    }
}

struct Stored {
    task: Task,
    since: Instant,
}

/// The jobs that can be asked for by their id.
#[derive(Default)]
pub(crate) struct JobStore(Mutex<VecDeque<Stored>>);

impl JobStore {
    /// Keeps a job. The oldest that have ended leave.
    pub(crate) fn keep(&self, task: Task) {
        let is_over = |stored: &Stored| stored.task.tracked().is_over();
        let mut jobs = self.lock();
        jobs.retain(|stored| !is_over(stored) || stored.since.elapsed() < KEPT);
        while jobs.len() >= MOST {
            match jobs.iter().position(is_over) {
                Some(ended) => drop(jobs.remove(ended)),
                // Those in the queue are bounded by its length.
                None => break,
            }
        }
        jobs.push_back(Stored {
            task,
            since: Instant::now(),
        });
    }

    pub(crate) fn find(&self, id: &str) -> Result<Task, ApiError> {
        let jobs = self.lock();
        let found = jobs.iter().find(|stored| stored.task.tracked().id == id);
        found.map(|stored| stored.task.clone()).ok_or_else(|| {
            ApiError::not_found("there is no such job: it may have ended more than 10 minutes ago")
        })
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Stored>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
