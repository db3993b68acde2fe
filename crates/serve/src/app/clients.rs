//! What clients of A1111 expect the server to remember.

use crate::engine::Job;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// What clients of A1111 expect the server to remember: they set the model once for all requests,
/// and ask for the progress of requests that they do not name.
#[derive(Default)]
pub(crate) struct A1111Clients(Mutex<Remembered>);

#[derive(Default)]
struct Remembered {
    /// The model that was chosen in the options.
    model: Option<String>,
    jobs: Vec<Weak<Job>>,
}

impl A1111Clients {
    /// The model that was chosen.
    pub(crate) fn model(&self) -> Option<String> {
        self.lock().model.clone()
    }

    /// Chooses a model for the requests to come.
    pub(crate) fn choose(&self, model: &str) {
        self.lock().model = Some(model.into());
    }

    /// Jobs that have not ended.
    pub(crate) fn jobs(&self) -> Vec<Arc<Job>> {
        let remembered = self.lock();
        let jobs = remembered.jobs.iter().filter_map(Weak::upgrade);
        jobs.filter(|job| !job.is_over()).collect()
    }

    pub(crate) fn remember(&self, job: &Arc<Job>) {
        let jobs = &mut self.lock().jobs;
        jobs.retain(|job| job.upgrade().is_some_and(|job| !job.is_over()));
        jobs.push(Arc::downgrade(job));
    }

    fn lock(&self) -> MutexGuard<'_, Remembered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
