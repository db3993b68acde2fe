//! Requests that were accepted: a server that stops finishes them, whatever they still wait for.

use super::{Engine, Job, Loaded, Loading, NamedLora, Submission};
use crate::error::ApiError;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::oneshot;

/// A request that was accepted, until this is dropped. Only such a request reaches the device.
pub(crate) struct Accepted<'a>(&'a Engine);

impl Engine {
    /// Accepts a request, unless the server stops.
    pub(crate) fn accept(&self) -> Result<Accepted<'_>, ApiError> {
        let mut work = self.lock();
        if work.closed {
            return Err(ApiError::stopping());
        }
        work.accepted += 1;
        Ok(Accepted(self))
    }
}

impl Drop for Accepted<'_> {
    fn drop(&mut self) {
        self.0.lock().accepted -= 1;
    }
}

impl Deref for Accepted<'_> {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        self.0
    }
}

impl Accepted<'_> {
    /// The model of this name for the number of steps with these LoRA, loaded if it is not yet. Without
    /// a name it is the first model.
    pub(crate) async fn model(
        &self,
        name: Option<&str>,
        steps: Option<usize>,
        loras: &[NamedLora],
    ) -> Result<Arc<Loaded>, ApiError> {
        let name = self.catalog.name(name)?;
        let loras = self.loras.choices(loras)?;
        if let Some(loaded) = self.catalog.loaded(&name, steps, &loras) {
            return Ok(loaded);
        }
        let (reply, loaded) = oneshot::channel();
        {
            let mut work = self.lock();
            self.check_room(&work)?;
            work.loads.push(Loading {
                name,
                steps,
                loras,
                reply,
            });
        }
        self.arrived.notify_one();
        match tokio::time::timeout(self.timeout, loaded).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(ApiError::stopping()),
            Err(_) => Err(ApiError::timed_out()),
        }
    }

    /// Puts a job into the queue.
    pub(crate) fn submit(&self, submission: Submission) -> Result<Arc<Job>, ApiError> {
        let deadline = Instant::now() + self.timeout;
        let job = Arc::new(Job::new(submission, deadline));
        {
            let mut work = self.lock();
            self.check_room(&work)?;
            work.queue.push(job.clone());
        }
        self.arrived.notify_one();
        Ok(job)
    }
}
