//! A job: the images that one request asks for, on their way through the engine.

use super::queue::Waits;
use super::tracked::{Phase, Tracked};
use super::{Loaded, Submission};
use fewstep_data::image::Image;
use fewstep_generate::{Init, Request};
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// A job. All its images share model, sampler, steps and size.
pub(crate) struct Job {
    pub(crate) tracked: Arc<Tracked>,
    pub(crate) client: IpAddr,
    pub(crate) model: Arc<Loaded>,
    pub(crate) request: Request,
    pub(crate) previews: bool,
    results: Mutex<Vec<Option<Image>>>,
}

impl Job {
    pub(super) fn new(submission: Submission, deadline: Instant) -> Self {
        let images = submission.request.images.len();
        Self {
            tracked: Arc::new(Tracked::new(images, deadline)),
            client: submission.client,
            model: submission.model,
            request: submission.request,
            previews: submission.previews,
            results: Mutex::new(vec![None; images]),
        }
    }

    /// Keeps finished images, from this one on. Returns whether the job ends with them.
    pub(super) fn keep(&self, first: usize, images: Vec<Image>) -> bool {
        let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        for (result, image) in results[first..].iter_mut().zip(images) {
            *result = Some(image);
        }
        if results.iter().any(Option::is_none) {
            return false;
        }
        let images = std::mem::take(&mut *results).into_iter().flatten();
        self.finish(Phase::Done(Arc::new(images.collect())))
    }
}

impl Deref for Job {
    type Target = Tracked;

    fn deref(&self) -> &Tracked {
        &self.tracked
    }
}

impl Waits for Job {
    fn client(&self) -> IpAddr {
        self.client
    }

    fn images(&self) -> usize {
        self.request.images.len()
    }

    fn goes_with(&self, other: &Self) -> bool {
        let (one, two) = (&self.request, &other.request);
        let start = |request: &Request| match request.images.first().map(|image| &image.init) {
            None | Some(Init::Noise) => (0, 0),
            Some(Init::Image { strength, .. }) => (1, strength.to_bits()),
            Some(Init::Inpaint { .. }) => (2, 0),
            Some(Init::Instruct { .. }) => (3, 0),
        };
        Arc::ptr_eq(&self.model, &other.model)
            && one.sampler == two.sampler
            && one.steps == two.steps
            && one.size == two.size
            && one.negative == two.negative
            && start(one) == start(two)
    }
}
