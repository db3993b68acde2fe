//! What the observer of a request sees.

use super::Generator;
use crate::Request;
use fewstep_data::image::Image;
use fewstep_diffusion::sampler::Step;
use std::ops::{ControlFlow, Range};

/// One step of some of the images of a request, as the observer sees it.
pub struct Progress<'a> {
    /// Which images of the request.
    pub images: Range<usize>,
    /// Their step.
    pub step: Step<'a>,
    /// Work done so far, in images, of `total`.
    pub done: usize,
    /// Images of the request.
    pub total: usize,
    generator: &'a Generator,
    request: &'a Request,
}

impl Progress<'_> {
    /// The images that the network predicts at this step. Latents are decoded, which takes time.
    pub fn preview(&self) -> Vec<Image> {
        let images = self.generator.decode(self.step.prediction.x()).into_iter();
        let requests = &self.request.images[self.images.clone()];
        let images = images.zip(requests);
        images.map(|(image, of)| of.init.put_back(image)).collect()
    }
}

/// What the batches of a request share.
pub(super) struct Work<'a> {
    /// Steps of single images so far.
    pub(super) steps: usize,
    pub(super) stopped: bool,
    pub(super) observer: &'a mut (dyn FnMut(Progress<'_>) -> ControlFlow<()> + Send),
}

impl Work<'_> {
    pub(super) fn observe(
        &mut self,
        generator: &Generator,
        request: &Request,
        images: Range<usize>,
        step: Step<'_>,
    ) -> ControlFlow<()> {
        if self.stopped {
            return ControlFlow::Break(());
        }
        self.steps += images.len();
        let flow = (self.observer)(Progress {
            images,
            done: self.steps / step.total,
            total: request.images.len(),
            step,
            generator,
            request,
        });
        self.stopped = flow.is_break();
        flow
    }
}

/// An observer that does nothing.
pub fn ignore(_: Progress<'_>) -> ControlFlow<()> {
    ControlFlow::Continue(())
}
