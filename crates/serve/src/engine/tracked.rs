//! Work that can be followed while it waits and runs, and cancelled.

use crate::error::ApiError;
use fewstep_data::image::Image;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tokio::sync::watch;

/// Work that gives images, as those see it who wait for it.
pub(crate) struct Tracked {
    /// Nobody can guess it.
    pub(crate) id: String,
    pub(crate) deadline: Instant,
    pub(crate) submitted: Instant,
    over: AtomicBool,
    state: watch::Sender<JobState>,
}

/// How far a job is.
#[derive(Clone, Debug)]
pub(crate) struct JobState {
    pub(crate) phase: Phase,
    /// Steps of each image so far.
    pub(crate) steps: Vec<usize>,
    /// The newest preview of each image, with the step that it shows.
    pub(crate) previews: Vec<Option<(usize, Arc<Image>)>>,
    /// Images of the largest batch that had images of the job.
    pub(crate) largest_batch: usize,
}

/// What happens to a job.
#[derive(Clone, Debug)]
pub(crate) enum Phase {
    Waiting,
    Running,
    Done(Arc<Vec<Image>>),
    Failed(ApiError),
    Cancelled,
}

/// What an API waits on.
pub(crate) type Watched = watch::Receiver<JobState>;

impl Phase {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Done(_) => "done",
            Self::Failed(_) => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        !matches!(self, Self::Waiting | Self::Running)
    }
}

impl JobState {
    /// Share of the work that is done, from 0 to 1, where each image takes so many steps.
    pub(crate) fn progress(&self, steps: usize) -> f64 {
        let done: usize = self.steps.iter().sum();
        done as f64 / (steps * self.steps.len()).max(1) as f64
    }
}

impl Tracked {
    pub(super) fn new(images: usize, deadline: Instant) -> Self {
        let state = JobState {
            phase: Phase::Waiting,
            steps: vec![0; images],
            previews: vec![None; images],
            largest_batch: 0,
        };
        Self {
            id: random_id(),
            deadline,
            submitted: Instant::now(),
            over: AtomicBool::new(false),
            state: watch::Sender::new(state),
        }
    }

    /// Its state now.
    pub(crate) fn state(&self) -> JobState {
        self.state.borrow().clone()
    }

    /// Its state as it changes.
    pub(crate) fn watch(&self) -> Watched {
        self.state.subscribe()
    }

    /// Whether nothing more is to be done for it.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    pub(crate) fn is_late(&self) -> bool {
        Instant::now() >= self.deadline
    }

    /// Ends it, unless it has ended. Returns whether it did.
    pub(super) fn finish(&self, phase: Phase) -> bool {
        self.over.store(true, Ordering::Relaxed);
        self.state.send_if_modified(|state| {
            let ends = !state.phase.is_over();
            if ends {
                state.phase = phase;
            }
            ends
        })
    }

    /// Notes that some of its images are in a network call of this many.
    pub(super) fn start(&self, batch: usize) {
        self.state.send_modify(|state| {
            state.largest_batch = state.largest_batch.max(batch);
            if matches!(state.phase, Phase::Waiting) {
                state.phase = Phase::Running;
            }
        });
    }

    /// Notes a step of one of its images, with a preview if there is one.
    pub(super) fn step(&self, image: usize, step: usize, preview: Option<Image>) {
        self.state.send_modify(|state| {
            state.steps[image] = step;
            if let Some(preview) = preview {
                state.previews[image] = Some((step, Arc::new(preview)));
            }
        });
    }

    /// Notes that these of its images have had so many steps.
    pub(crate) fn steps(&self, images: impl Iterator<Item = usize>, step: usize) {
        self.state
            .send_modify(|state| images.for_each(|image| state.steps[image] = step));
    }
}

/// 128 random bits in hexadecimal.
fn random_id() -> String {
    random_bytes::<16>()
        .map(|byte| format!("{byte:02x}"))
        .concat()
}

/// Random bytes from the system.
pub(crate) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // Every system that the program runs on has them.
    getrandom::fill(&mut bytes).expect("random bytes");
    bytes
}
