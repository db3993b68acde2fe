//! What owns the device: one thread that loads models and generates, the queue in front of it, and
//! the handle by which requests reach both.

mod accepted;
mod catalog;
mod errand;
mod job;
mod loras;
mod metrics;
mod queue;
mod tracked;
mod worker;

pub(crate) use accepted::Accepted;
pub(crate) use catalog::Loaded;
pub(crate) use job::Job;
pub(crate) use loras::{LoraFolder, NamedLora};
pub(crate) use metrics::{Gauges, Metrics};
pub(crate) use tracked::{JobState, Phase, Tracked, Watched, random_bytes};

use crate::config::{Config, Load};
use crate::error::{ApiError, ServeError};
use axum::http::StatusCode;
use catalog::Catalog;
use errand::Errand;
use fewstep_generate::{LoraChoice, Request};
use queue::Queue;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

/// The handle of the engine.
pub(crate) struct Engine {
    pub(crate) catalog: Catalog,
    pub(crate) loras: LoraFolder,
    pub(crate) metrics: Metrics,
    /// Whether the batch in progress is to show a preview at its next step.
    pub(crate) wants_preview: AtomicBool,
    work: Mutex<Work>,
    arrived: Condvar,
    batch: Option<usize>,
    timeout: Duration,
    longest_queue: usize,
}

/// What waits for the worker.
#[derive(Default)]
struct Work {
    queue: Queue<Job>,
    loads: Vec<Loading>,
    errands: VecDeque<Errand>,
    /// The one that the worker is about, which is not among them any more.
    on_errand: Option<Arc<Tracked>>,
    /// Whether the batches have had their turn.
    errand_is_next: bool,
    /// Requests that were accepted and have not been answered, or are in the queue by now.
    accepted: usize,
    /// No more requests are accepted.
    closed: bool,
    /// The worker ends when nothing is left.
    ended: bool,
}

impl Work {
    /// What waits or runs.
    fn waiting(&self) -> usize {
        self.queue.jobs()
            + self.loads.len()
            + self.errands.len()
            + usize::from(self.on_errand.is_some())
    }
}

/// A model that somebody waits for.
struct Loading {
    name: String,
    steps: Option<usize>,
    loras: Vec<LoraChoice>,
    reply: oneshot::Sender<Result<Arc<Loaded>, ApiError>>,
}

/// What the jobs of a client are, as the API that took them knows it.
pub(crate) struct Submission {
    pub(crate) client: IpAddr,
    pub(crate) model: Arc<Loaded>,
    pub(crate) request: Request,
    pub(crate) previews: bool,
}

impl Engine {
    /// Loads the first model and starts the worker.
    pub(crate) fn start(
        config: &Config,
        load: Load,
    ) -> Result<(Arc<Self>, JoinHandle<()>), ServeError> {
        let catalog = Catalog::new(config);
        catalog.load_first(&load)?;
        let engine = Arc::new(Self {
            catalog,
            loras: LoraFolder::new(config.loras.as_deref()),
            metrics: Metrics::default(),
            wants_preview: AtomicBool::new(false),
            work: Mutex::default(),
            arrived: Condvar::new(),
            batch: config.batch,
            timeout: config.timeout,
            longest_queue: config.queue,
        });
        let worker = std::thread::Builder::new().name("generate".into());
        let of_worker = engine.clone();
        let worker = worker.spawn(move || worker::run(&of_worker, &load))?;
        Ok((engine, worker))
    }

    /// How many images of a size may go through a model at once; none if the memory has no room for
    /// one.
    pub(crate) fn batch_of(&self, model: &Loaded, size: Option<[usize; 2]>) -> Option<usize> {
        let usual = model.generator.default_batch();
        self.catalog.batch(model, size, self.batch.unwrap_or(usual))
    }

    /// Cancels a job: at once if it waits, else at the next step.
    pub(crate) fn cancel(&self, job: &Tracked) {
        if !self.finish(job, Phase::Cancelled) {
            return;
        }
        let mut work = self.lock();
        work.errands.retain(|errand| !errand.tracked.is_over());
        for queued in work.queue.all().iter().filter(|queued| queued.is_over()) {
            work.queue.remove(queued);
        }
    }

    /// Ends a job, unless it has ended, and counts it. Returns whether it did.
    fn finish(&self, job: &Tracked, phase: Phase) -> bool {
        let name = phase.name();
        let ends = job.finish(phase);
        if ends {
            self.metrics.ended(name);
        }
        ends
    }

    /// Whether it has anything to do, or will have.
    pub(crate) fn is_busy(&self) -> bool {
        let work = self.lock();
        work.accepted + work.waiting() > 0
    }

    /// Jobs that wait or run.
    pub(crate) fn waiting(&self) -> usize {
        self.lock().waiting()
    }

    /// Whether it accepts work.
    pub(crate) fn is_open(&self) -> bool {
        !self.lock().closed
    }

    /// Accepts no more requests; those that were accepted go on.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
    }

    /// Cancels all that is left and ends the worker. Returns how many jobs were cancelled.
    pub(crate) fn end(&self) -> usize {
        let (jobs, errands) = {
            let mut work = self.lock();
            (work.closed, work.ended) = (true, true);
            work.loads.clear();
            let waiting = std::mem::take(&mut work.errands);
            let waiting = waiting.into_iter().map(|errand| errand.tracked);
            let errands: Vec<_> = waiting.chain(work.on_errand.clone()).collect();
            (work.queue.clear(), errands)
        };
        let all = jobs.iter().map(|job| &job.tracked).chain(&errands);
        let cancelled = all.filter(|job| job.finish(Phase::Cancelled)).count();
        self.arrived.notify_one();
        cancelled
    }

    fn check_room(&self, work: &Work) -> Result<(), ApiError> {
        if work.ended {
            return Err(ApiError::stopping());
        }
        let waiting = work.waiting();
        if waiting < self.longest_queue {
            return Ok(());
        }
        self.metrics.refused();
        let seconds = self.metrics.seconds_per_image() * work.queue.images() as f64;
        Err(ApiError {
            retry_after: Some((seconds.ceil() as u64).clamp(1, 600)),
            ..ApiError::new(
                StatusCode::TOO_MANY_REQUESTS,
                format!("{waiting} requests are waiting already: try again later"),
            )
        })
    }

    fn lock(&self) -> MutexGuard<'_, Work> {
        // Only whole entries are put in and taken out.
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether somebody has asked for a preview since the last call.
    fn take_preview_wish(&self) -> bool {
        self.wants_preview.swap(false, Ordering::Relaxed)
    }
}
