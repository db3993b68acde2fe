//! Jobs that were submitted, and those that can be asked for by their id.

use crate::engine::Job;
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

/// A job that can be asked for.
#[derive(Clone)]
pub(crate) struct Stored {
    pub(crate) submitted: Submitted,
    pub(crate) format: Format,
    since: Instant,
}

/// The jobs that can be asked for by their id.
#[derive(Default)]
pub(crate) struct JobStore(Mutex<VecDeque<Stored>>);

impl JobStore {
    /// Keeps a job. The oldest that have ended leave.
    pub(crate) fn keep(&self, submitted: &Submitted, format: Format) {
        let mut jobs = self.lock();
        jobs.retain(|job| !job.submitted.job.is_over() || job.since.elapsed() < KEPT);
        while jobs.len() >= MOST {
            let ended = jobs.iter().position(|job| job.submitted.job.is_over());
            match ended {
                Some(ended) => drop(jobs.remove(ended)),
                // Those in the queue are bounded by its length.
                None => break,
            }
        }
        jobs.push_back(Stored {
            submitted: submitted.clone(),
            format,
            since: Instant::now(),
        });
    }

    pub(crate) fn find(&self, id: &str) -> Result<Stored, ApiError> {
        let jobs = self.lock();
        let found = jobs.iter().find(|job| job.submitted.job.id == id);
        found.cloned().ok_or_else(|| {
            ApiError::not_found("there is no such job: it may have ended more than 10 minutes ago")
        })
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Stored>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
