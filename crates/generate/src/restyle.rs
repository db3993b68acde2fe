//! Images of one class or prompt become images of another (section 4.3 of 2210.03142): encoded to
//! noise as the one, decoded as the other.

use crate::generator::{default_steps, guided};
use crate::{Extent, GenerateError, Generator, ImageRequest, Request, Subject};
use burn::tensor::Tensor;
use fewstep_data::ImageShape;
use fewstep_data::image::Image;
use fewstep_diffusion::sampler::{self, Observer, SamplerConfig, Step};
use fewstep_diffusion::{Denoiser, DistilledFor, Guidance, Inputs, Spacing, TimeGrid, Warning};
use fewstep_formats::{Model, PipelineComponents};
use fewstep_kernels::memory::Predicted;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

/// An encoder and a decoder: two students, or a teacher twice.
pub struct Restyler {
    encoder: Model,
    denoiser: Box<dyn Denoiser + Send>,
    decoder: Arc<Generator>,
}

/// What to restyle, and how.
#[derive(Clone, Debug)]
pub struct RestyleRequest {
    /// The images, all of the shape that the models work on.
    pub images: Vec<Image>,
    /// What they show.
    pub from: Subject,
    /// What they become.
    pub to: Subject,
    /// Steps of the encoder.
    pub encoder_steps: usize,
    /// Steps of the decoder.
    pub decoder_steps: usize,
    /// The decoder's sampler.
    pub sampler: SamplerConfig,
    /// Guidance weight for encoding; by default 0, or the nearest that the encoder was distilled
    /// for.
    pub encoder_w: Option<f64>,
    /// Guidance weights of the decoder, with one result for each; `None` is its default.
    pub w: Vec<Option<f64>>,
}

/// A step of restyling, as the observer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestyleStep {
    /// Images that were encoded or decoded before, each counted once for every time.
    pub passes: usize,
    /// The images that are encoded or decoded now, by their numbers.
    pub images: Range<usize>,
    /// The number of the weight that they are decoded with; none while they are encoded.
    pub w: Option<usize>,
    /// Steps of the encoder or of the decoder so far, this one included.
    pub step: usize,
}

/// Why images cannot be restyled.
#[derive(Debug, thiserror::Error)]
pub enum RestyleError {
    /// The encoder cannot do what is requested.
    #[error("{0}")]
    Encoder(GenerateError),
    /// The decoder cannot do what is requested.
    #[error("{0}")]
    Decoder(GenerateError),
    /// One works on pixels and the other on latents.
    #[error(
        "one generates from prompts and the other from classes: give two that were distilled from the same teacher"
    )]
    Kinds,
    /// The latents of one do not fit the other.
    #[error(
        "they have different autoencoders or text encoders: give two that were distilled from the same teacher"
    )]
    Parts,
    /// An image of another shape than the models work on.
    #[error("an image has {got}, and the models work on {expected}")]
    Shape {
        /// Its shape.
        got: ImageShape,
        /// The shape that one of the models works on.
        expected: ImageShape,
    },
}

impl Restyler {
    /// Combines an encoder and a decoder. `parts` has the autoencoder and text encoder of a latent
    /// encoder; those of the decoder are used for both.
    ///
    /// # Errors
    /// When they do not work on the same images or latents, or need more than noise.
    pub fn new(
        encoder: Model,
        parts: Option<&PipelineComponents>,
        decoder: impl Into<Arc<Generator>>,
    ) -> Result<Self, RestyleError> {
        let decoder = decoder.into();
        let refused = encoder
            .network
            .config()
            .extra_input()
            .map(GenerateError::needs);
        if let Some(refused) = refused {
            return Err(RestyleError::Encoder(refused));
        }
        match (parts, decoder.components()) {
            (None, None) => {}
            (Some(_), None) | (None, Some(_)) => return Err(RestyleError::Kinds),
            (Some(here), Some(there)) => {
                let [a, b] = [&encoder, decoder.model()].map(|model| model.network.config());
                let digest = |parts: &PipelineComponents| {
                    let digest = parts.digest();
                    digest.map_err(|error| RestyleError::Encoder(error.into()))
                };
                let alike = (a.channels(), a.text_width()) == (b.channels(), b.text_width())
                    && (here.folder() == there.folder() || digest(here)? == digest(there)?);
                if !alike {
                    return Err(RestyleError::Parts);
                }
            }
        }
        Ok(Self {
            denoiser: guided(&encoder).map_err(RestyleError::Encoder)?,
            encoder,
            decoder,
        })
    }

    /// The encoder.
    pub fn encoder(&self) -> &Model {
        &self.encoder
    }

    /// The decoder.
    pub fn decoder(&self) -> &Generator {
        &self.decoder
    }

    /// Steps of encoder and decoder when the user gives none.
    pub fn default_steps(&self) -> [usize; 2] {
        [&self.encoder, self.decoder.model()].map(|model| default_steps(&model.recipe.role))
    }

    /// Shape of the images that encoder and decoder work on.
    pub fn shapes(&self) -> [ImageShape; 2] {
        let [channels, height, width] = self.encoder.recipe.resolution;
        let encoder = self.decoder.images_of(ImageShape {
            channels,
            height,
            width,
        });
        [encoder, self.decoder.image_shape()]
    }

    /// Checks a request against both models.
    ///
    /// # Errors
    /// When they contradict each other; what is merely untrained comes back as warnings, each once.
    pub fn check(&self, request: &RestyleRequest) -> Result<Vec<Warning>, RestyleError> {
        for expected in self.shapes() {
            let other = |image: &&Image| image.shape != expected;
            if let Some(image) = request.images.iter().find(other) {
                let got = image.shape;
                return Err(RestyleError::Shape { got, expected });
            }
        }
        let mut warnings = self.check_encoder(request).map_err(RestyleError::Encoder)?;
        for &w in &request.w {
            let of_decoder = Request {
                images: vec![of_subject(&request.to, w)],
                sampler: request.sampler,
                steps: request.decoder_steps,
                ..self.decoder.request(vec![])
            };
            let checked = self.decoder.check(&of_decoder);
            for warning in checked.map_err(RestyleError::Decoder)? {
                if !warnings.contains(&warning) {
                    warnings.push(warning);
                }
            }
        }
        Ok(warnings)
    }

    /// Predicts how much memory a request takes: both networks, their maps, and the results. Nothing
    /// is allocated.
    ///
    /// # Errors
    /// When the decoder's prompts cannot be measured.
    pub fn memory(&self, request: &RestyleRequest) -> Result<Predicted, RestyleError> {
        let results = request.images.len().saturating_mul(request.w.len());
        let extent = Extent {
            images: results as u64,
            size: None,
            batch: 1,
            w: request.w.iter().flatten().copied().reduce(f64::max),
        };
        let together = self.together().min(request.images.len());
        let predicted = self.decoder.memory_of(
            &extent,
            together as u128,
            self.encoder.network.stored_bytes(),
        );
        predicted.map_err(RestyleError::Decoder)
    }

    /// Images that are encoded and decoded at once.
    fn together(&self) -> usize {
        // Latent models need much memory.
        match self.decoder.is_latent() {
            true => 1,
            false => usize::MAX,
        }
    }

    fn check_encoder(&self, request: &RestyleRequest) -> Result<Vec<Warning>, GenerateError> {
        let steps = request.encoder_steps;
        TimeGrid::new(self.denoiser.schedule(), Spacing::Uniform, steps)?;
        let (recipe, w) = (&self.encoder.recipe, self.encoder_w(request));
        match (&request.from, self.decoder.is_latent()) {
            // Pixel models number their classes themselves.
            (Subject::Class(class), false) => recipe.check_class(*class)?,
            _ => self.decoder.check_subject(&request.from)?,
        }
        Ok(recipe.check(DistilledFor::Encoder, steps, Some(w))?)
    }

    /// The results: a list of images for each w. `observer` is called at every step of a sampler, and
    /// can cancel.
    ///
    /// # Errors
    /// When the request contradicts the models, or was cancelled.
    pub fn restyle(
        &self,
        request: &RestyleRequest,
        observer: &mut dyn FnMut(RestyleStep) -> ControlFlow<()>,
    ) -> Result<Vec<Vec<Image>>, RestyleError> {
        self.check(request)?;
        let subjects = [&request.from, &request.to].map(|subject| of_subject(subject, None));
        let prepared = self.decoder.prepare(&subjects, "");
        prepared.map_err(RestyleError::Decoder)?;
        let mut results = vec![vec![]; request.w.len()];
        let (mut passes, mut first) = (0, 0);
        for images in request.images.chunks(self.together()) {
            let mut step = |passes: usize, w: Option<usize>, step: Step<'_>| {
                observer(RestyleStep {
                    passes,
                    images: first..first + images.len(),
                    w,
                    step: step.index + 1,
                })
            };
            let noise = self.encode(images, request, &mut |at| step(passes, None, at));
            let noise = noise.map_err(RestyleError::Encoder)?;
            passes += images.len();
            for (number, (result, &w)) in results.iter_mut().zip(&request.w).enumerate() {
                let mut step = |at: Step<'_>| step(passes, Some(number), at);
                let made = self.decode(noise.clone(), request, w, first as u64, &mut step);
                result.extend(made.map_err(RestyleError::Decoder)?);
                passes += images.len();
            }
            first += images.len();
        }
        Ok(results)
    }

    /// The noise of images, by reversed DDIM. Nothing is clipped, since that would bend the path
    /// that the decoder follows back.
    fn encode(
        &self,
        images: &[Image],
        request: &RestyleRequest,
        observer: Observer<'_>,
    ) -> Result<Tensor<4>, GenerateError> {
        let z = self.decoder.encode_images(images);
        let inputs = Inputs {
            classes: classes(&self.encoder, &request.from, images.len()),
            w: Some(vec![self.encoder_w(request); images.len()]),
            ..self.inputs(&request.from, None, &z)?
        };
        let steps = request.encoder_steps;
        let grid = TimeGrid::new(self.denoiser.schedule(), Spacing::Uniform, steps)?;
        let noise = sampler::encode(&*self.denoiser, z, &inputs, &grid, observer);
        noise.map_err(|_| GenerateError::Cancelled)
    }

    /// The images of noise; `first` is the number of the first one.
    fn decode(
        &self,
        noise: Tensor<4>,
        request: &RestyleRequest,
        w: Option<f64>,
        first: u64,
        observer: Observer<'_>,
    ) -> Result<Vec<Image>, GenerateError> {
        let count = noise.dims()[0];
        let inputs = self.inputs(&request.to, w, &noise)?;
        let keys = (first..).take(count).map(|index| (0, index));
        let keys: Vec<(u64, u64)> = keys.collect();
        let (config, steps) = (request.sampler, request.decoder_steps);
        let made = self
            .decoder
            .sample(noise, &inputs, config, steps, &keys, observer)?;
        self.decoder.decode_finite(made)
    }

    fn inputs(
        &self,
        subject: &Subject,
        w: Option<f64>,
        z: &Tensor<4>,
    ) -> Result<Inputs, GenerateError> {
        let [count, _, sides @ ..] = z.dims();
        let image = of_subject(subject, w);
        self.decoder.inputs(&vec![image; count], "", sides)
    }

    /// The weight for encoding: as requested, else no guidance, or the nearest that the encoder was
    /// distilled for.
    pub fn encoder_w(&self, request: &RestyleRequest) -> f64 {
        let nearest = match self.encoder.recipe.guidance {
            Guidance::None | Guidance::ClassifierFree => 0.0,
            Guidance::Input { w_min, w_max, .. } => 0.0f64.max(w_min).min(w_max),
            Guidance::Fixed { w } => w,
        };
        request.encoder_w.unwrap_or(nearest)
    }

    /// Network calls to encode one image, and at most to decode it.
    pub fn network_calls(&self, request: &RestyleRequest) -> [usize; 2] {
        let unguided = self.encoder.recipe.guidance == Guidance::ClassifierFree
            && self.encoder_w(request) == 0.0;
        let branches = match unguided {
            true => 1,
            false => self.denoiser.network_calls(),
        };
        let (sampler, steps) = (request.sampler, request.decoder_steps);
        let decode = |&w: &Option<f64>| self.decoder.network_calls(sampler, steps, w);
        let decode = request.w.iter().map(decode).max();
        [request.encoder_steps * branches, decode.unwrap_or(0)]
    }
}

fn of_subject(subject: &Subject, w: Option<f64>) -> ImageRequest {
    ImageRequest {
        subject: subject.clone(),
        w,
        ..ImageRequest::new(0, 0)
    }
}

/// The class of images as the encoder numbers it.
fn classes(encoder: &Model, subject: &Subject, count: usize) -> Option<Vec<Option<u32>>> {
    let class = match subject {
        Subject::Class(class) => Some(*class),
        Subject::Any | Subject::Prompt(_) => None,
    };
    (!encoder.recipe.classes.is_empty()).then(|| vec![class; count])
}
