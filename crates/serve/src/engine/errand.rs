//! Work on the device that is no job of the queue: done as one piece, for somebody who waits for it.

use super::Accepted;
use crate::error::ApiError;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::Instant;
use tokio::sync::oneshot;

/// Work that the worker does between two batches.
pub(super) type Errand = Box<dyn FnOnce() + Send>;

impl Accepted<'_> {
    /// Has the worker do this and waits for it. The function that `work` gets says whether it is to go
    /// on: not when the caller is dropped, nor after the time for a request, nor when the engine
    /// ends.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Fn() -> ControlFlow<()>) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let deadline = Instant::now() + self.timeout;
        let (reply, result) = oneshot::channel();
        let stopped = self.stopped.clone();
        let errand = move || {
            let go_on = || {
                let is_late = Instant::now() >= deadline;
                match is_late || reply.is_closed() || stopped.load(Ordering::Relaxed) {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            };
            if go_on().is_break() {
                return;
            }
            // A fault in one model must not end the server.
            let done = catch_unwind(AssertUnwindSafe(|| work(&go_on)));
            let _ = reply.send(done.unwrap_or_else(|_| Err(ApiError::internal())));
        };
        {
            let mut waiting = self.lock();
            self.check_room(&waiting)?;
            waiting.errands.push_back(Box::new(errand));
        }
        self.arrived.notify_one();
        let result = tokio::time::timeout_at(deadline.into(), result).await;
        let result = match result {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(ApiError::cancelled()),
            Err(_) => Err(ApiError::timed_out()),
        };
        self.metrics.ended(match &result {
            Ok(_) => "done",
            Err(error) if *error == ApiError::cancelled() => "cancelled",
            Err(_) => "failed",
        });
        result
    }
}
