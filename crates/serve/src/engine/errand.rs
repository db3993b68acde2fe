//! Work on the device that is no batch of images: done as one piece, between two batches.

use super::tracked::{Phase, Tracked};
use super::{Accepted, Engine};
use crate::error::ApiError;
use fewstep_data::image::Image;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

/// What gives the images of an errand. It notes its steps, and ends when it is not to
/// [go on](Tracked::go_on).
type Work = Box<dyn FnOnce(&Tracked) -> Result<Vec<Image>, ApiError> + Send>;

/// Work that the worker does between two batches.
pub(super) struct Errand {
    pub(super) tracked: Arc<Tracked>,
    work: Work,
}

impl Tracked {
    /// Whether an errand is to go on: not when it was cancelled, nor after the time for a request.
    pub(crate) fn go_on(&self) -> ControlFlow<()> {
        match self.is_over() || self.is_late() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}

impl Accepted<'_> {
    /// Has the worker do this, which gives so many images.
    pub(crate) fn run(
        &self,
        images: usize,
        work: impl FnOnce(&Tracked) -> Result<Vec<Image>, ApiError> + Send + 'static,
    ) -> Result<Arc<Tracked>, ApiError> {
        let deadline = Instant::now() + self.timeout;
        let tracked = Arc::new(Tracked::new(images, deadline));
        {
            let mut waiting = self.lock();
            self.check_room(&waiting)?;
            waiting.errands.push_back(Errand {
                tracked: tracked.clone(),
                work: Box::new(work),
            });
        }
        self.arrived.notify_one();
        Ok(tracked)
    }
}

impl Errand {
    /// Does the work, on the worker's thread.
    pub(super) fn run(self, engine: &Engine) {
        let Self { tracked, work } = self;
        tracked.start(tracked.state().steps.len());
        // A fault in one model must not end the server.
        let done = match tracked.go_on() {
            ControlFlow::Continue(()) => catch_unwind(AssertUnwindSafe(|| work(&tracked)))
                .unwrap_or_else(|_| Err(ApiError::internal())),
            ControlFlow::Break(()) => Err(ApiError::cancelled()),
        };
        let phase = match done {
            Ok(images) => Phase::Done(Arc::new(images)),
            Err(error) if error != ApiError::cancelled() => Phase::Failed(error),
            Err(_) if tracked.is_late() => Phase::Failed(ApiError::timed_out()),
            Err(_) => Phase::Cancelled,
        };
        engine.finish(&tracked, phase);
    }
}
