//! Generates images and measures them, a few hundred at a time so that not all are in memory.

use super::guidance::both_conventions;
use crate::error::{CliError, CliResult};
use crate::numbers::plural;
use fewstep_data::ImageShape;
use fewstep_data::image::Image;
use fewstep_diffusion::Warning;
use fewstep_diffusion::sampler::SamplerConfig;
use fewstep_generate::{Generator, ImageRequest, Request};
use fewstep_metrics::{FeatureNetwork, Features, Images, MetricsError};
use std::ops::{ControlFlow, Range};
use std::rc::Rc;
use std::time::Instant;

/// Images that are generated and measured together.
pub(crate) const CHUNK: usize = 512;

/// A model, and how it is sampled.
pub(crate) struct SampledModel {
    pub(crate) generator: Rc<Generator>,
    pub(crate) sampler: SamplerConfig,
    pub(crate) steps: usize,
    /// None for a model without guidance.
    pub(crate) w: Option<f64>,
}

/// The features of generated images.
pub(crate) struct Measured {
    pub(crate) features: Features,
    pub(crate) seconds_per_image: f64,
}

/// Gets the images of each range.
pub(crate) type OnImages<'a> = &'a mut dyn FnMut(Range<usize>, &[Image]) -> CliResult;

impl SampledModel {
    /// Checks the settings against the model, with w as the user gave it.
    pub(crate) fn check(&self, w: Option<f64>) -> CliResult<Vec<Warning>> {
        let generator = &self.generator;
        Ok(generator.check_sampling(self.sampler, self.steps, w)?)
    }

    /// The request for these images, all with this w.
    fn request(&self, images: Vec<ImageRequest>, batch: usize) -> Request {
        let w = self.w;
        let images = images.into_iter().map(|image| ImageRequest { w, ..image });
        Request {
            sampler: self.sampler,
            steps: self.steps,
            batch,
            ..self.generator.request(images.collect())
        }
    }

    /// Generates these images. `progress` gets the number that are done.
    pub(crate) fn generate(
        &self,
        images: Vec<ImageRequest>,
        batch: usize,
        progress: &mut (dyn FnMut(usize) + Send),
    ) -> CliResult<Vec<Image>> {
        let request = self.request(images, batch);
        Ok(self.generator.generate(&request, &mut |step| {
            progress(step.done);
            ControlFlow::Continue(())
        })?)
    }

    /// Generates `count` images, for which `images` gives the requests of a range, and computes
    /// their features.
    pub(crate) fn measure(
        &self,
        count: usize,
        images: &dyn Fn(Range<usize>) -> CliResult<Vec<ImageRequest>>,
        batch: usize,
        network: &dyn FeatureNetwork,
        on_images: OnImages<'_>,
        progress: &mut (dyn FnMut(usize) + Send),
    ) -> CliResult<Measured> {
        let mut features = Features::empty(network.dim());
        let mut seconds = 0.0;
        for first in (0..count).step_by(CHUNK) {
            let range = first..count.min(first + CHUNK);
            let some = images(range.clone())?;
            let started = Instant::now();
            let generated = self.generate(some, batch, &mut |done| progress(first + done))?;
            seconds += started.elapsed().as_secs_f64();
            on_images(range, &generated)?;
            let of_chunk = features_of(&generated, network)?;
            features.append(of_chunk).map_err(metrics_error)?;
        }
        Ok(Measured {
            features,
            seconds_per_image: seconds / count.max(1) as f64,
        })
    }

    /// Network calls for one image.
    pub(crate) fn network_calls(&self) -> usize {
        self.generator
            .network_calls(self.sampler, self.steps, self.w)
    }

    /// Steps and guidance in words.
    pub(crate) fn title(&self) -> String {
        let steps = plural(self.steps, "step");
        match self.w {
            Some(w) => format!("{steps}, {}", both_conventions(w)),
            None => steps,
        }
    }
}

/// Features of images of one shape.
fn features_of(images: &[Image], network: &dyn FeatureNetwork) -> CliResult<Features> {
    let pixels: Vec<u8> = images.iter().flat_map(|i| &i.pixels).copied().collect();
    match images.first() {
        Some(image) => features_of_pixels(&pixels, image.shape, network),
        None => Ok(Features::empty(network.dim())),
    }
}

/// Features of images of one shape, whose pixels follow one another.
pub(crate) fn features_of_pixels(
    pixels: &[u8],
    shape: ImageShape,
    network: &dyn FeatureNetwork,
) -> CliResult<Features> {
    let images = Images::new(shape.channels, shape.height, shape.width, pixels);
    let features = images.and_then(|images| network.features(&images));
    features.map_err(metrics_error)
}

/// Features that are not finite are a failure of the work; wrong counts, shapes and files are bad
/// input.
pub(crate) fn metrics_error(error: MetricsError) -> CliError {
    match error {
        MetricsError::NotFinite { .. } => CliError::Work(error.into()),
        _ => CliError::Input(error.into()),
    }
}
