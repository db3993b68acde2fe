//! Facts about the model of a generator.

use super::Generator;
use crate::prompts::Text;
use crate::{GenerateError, ImageRequest, Request};
use fewstep_data::ImageShape;
use fewstep_diffusion::sampler::{Sampler, SamplerConfig};
use fewstep_diffusion::{ControlSpec, Denoiser, DistilledFor, Guidance, Role, Task};
use fewstep_formats::Model;
use fewstep_nn::ExtraInput;

/// The default number of steps: those that a student was distilled for.
pub(crate) fn default_steps(role: &Role) -> usize {
    match role {
        Role::Student {
            steps: Some(steps), ..
        } => *steps,
        Role::Student {
            sampler: DistilledFor::Consistency,
            ..
        } => 4,
        Role::Student { .. } | Role::Teacher => 32,
    }
}

impl Generator {
    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// [`Model::weights_hash`] of the model, computed once.
    pub fn weights_hash(&self) -> &str {
        self.weights_hash.get_or_init(|| self.model.weights_hash())
    }

    /// What the sides of images must be multiples of.
    pub fn size_multiple(&self) -> usize {
        self.factor() * self.model.network.config().size_multiple()
    }

    /// Whether it fills masked parts of images.
    pub fn inpaints(&self) -> bool {
        self.extra_input() == Some(ExtraInput::MaskedImage) || self.inpaints_by_control()
    }

    /// Whether its network sees a source image, which it edits as a prompt says.
    pub fn edits_by_instruction(&self) -> bool {
        self.model.network.config().sees_source()
    }

    /// The image that it generates from, besides a prompt or class: a control image, or the source
    /// image that its network sees.
    pub fn image_condition(&self) -> Option<ControlSpec> {
        let source = || {
            let shape = self.image_shape();
            ControlSpec {
                task: Task::Instruct,
                shape: [shape.channels, shape.height, shape.width],
            }
        };
        let control = self.model.recipe.control;
        control.or_else(|| self.edits_by_instruction().then(source))
    }

    /// The denoiser that generates the images, clipped and guided as the recipe says.
    pub fn denoiser(&self) -> &dyn Denoiser {
        &*self.denoiser
    }

    /// Whether it works on latents.
    pub fn is_latent(&self) -> bool {
        self.latent.is_some()
    }

    /// Whether it generates from prompts.
    pub fn takes_prompts(&self) -> bool {
        self.is_latent() && self.classes().is_empty()
    }

    /// The names of the classes that it generates.
    pub fn classes(&self) -> &[String] {
        match &self.latent {
            None => &self.model.recipe.classes,
            Some(latent) => &latent.prompts.facts().classes,
        }
    }

    /// The end of a prompt that is cut off because it is too long, and how many tokens the text
    /// encoder reads.
    ///
    /// # Errors
    /// When the text encoder cannot be read again.
    pub fn cut_off(&self, prompt: &str) -> Result<Option<(String, usize)>, GenerateError> {
        let Some(latent) = &self.latent else {
            return Ok(None);
        };
        let cut = latent.prompts.cut(Text {
            text: prompt,
            clip_skip: self.model.recipe.clip_skip,
        })?;
        Ok(cut.map(|cut| (cut, latent.prompts.facts().length)))
    }

    /// How many of the last layers of the text encoder are skipped for an image.
    pub fn clip_skip(&self, image: &ImageRequest) -> usize {
        image.clip_skip.unwrap_or(self.model.recipe.clip_skip)
    }

    /// CLIP skip of so many skipped layers as web interfaces and ComfyUI count it: the layer from the
    /// last one, which is 1. SDXL takes the one before the last anyhow.
    pub fn web_clip_skip(&self, skipped: usize) -> usize {
        self.usual_layer() + skipped
    }

    /// The layers that are skipped for a CLIP skip of web interfaces; none for the usual layer or a
    /// later one.
    pub fn skipped_for(&self, web_clip_skip: usize) -> usize {
        web_clip_skip.saturating_sub(self.usual_layer())
    }

    fn usual_layer(&self) -> usize {
        self.model.network.config().usual_clip_layer()
    }

    /// How many of the last layers of its text encoder can be skipped at most; 0 without a CLIP.
    pub fn most_skipped(&self) -> usize {
        let latent = self.latent.as_ref();
        latent.map_or(0, |latent| latent.prompts.facts().most_skipped)
    }

    /// Shape of the images that it was trained on.
    pub fn image_shape(&self) -> ImageShape {
        let [channels, height, width] = self.model.recipe.resolution;
        self.images_of(ImageShape {
            channels,
            height,
            width,
        })
    }

    /// The shape of the images that the network's maps stand for.
    pub(crate) fn images_of(&self, maps: ImageShape) -> ImageShape {
        match &self.latent {
            None => maps,
            Some(latent) => ImageShape {
                channels: latent.vae.channels(),
                height: maps.height * latent.vae.factor(),
                width: maps.width * latent.vae.factor(),
            },
        }
    }

    /// The sampler that the model was made for: DDIM for a teacher.
    pub fn default_sampler(&self) -> SamplerConfig {
        match self.model.recipe.role {
            Role::Student {
                sampler: DistilledFor::Stochastic,
                ..
            } => Sampler::Stochastic.into(),
            Role::Student {
                sampler: DistilledFor::Consistency,
                ..
            } if self.is_by_jumps() => Sampler::MultistepConsistency.into(),
            Role::Student { .. } => Sampler::Deterministic.into(),
            Role::Teacher => self
                .model
                .recipe
                .default_sampler
                .unwrap_or(Sampler::DDIM.into()),
        }
    }

    /// Whether its scheduler was that of latent consistency models.
    fn is_by_jumps(&self) -> bool {
        let config = self.model.recipe.default_sampler;
        config.is_some_and(|config| config.sampler == Sampler::MultistepConsistency)
    }

    /// The default number of steps: those that a student was distilled for.
    pub fn default_steps(&self) -> usize {
        default_steps(&self.model.recipe.role)
    }

    /// A request for images with the sampler and the number of steps that the model was made for.
    pub fn request(&self, images: Vec<ImageRequest>) -> Request {
        Request {
            images,
            negative: String::new(),
            size: None,
            sampler: self.default_sampler(),
            steps: self.default_steps(),
            batch: self.default_batch(),
        }
    }

    /// The default number of images per network call: 1 for latent models, which need much memory,
    /// and fewer with control images.
    pub fn default_batch(&self) -> usize {
        match (&self.latent, self.model.recipe.control) {
            (Some(_), _) => 1,
            (None, Some(_)) => 16,
            (None, None) => 64,
        }
    }

    /// The w that an image is generated with; none for a model without guidance.
    pub fn effective_w(&self, given: Option<f64>) -> Option<f64> {
        match self.model.recipe.guidance {
            Guidance::None => None,
            _ => Some(given.unwrap_or_else(|| self.model.recipe.default_w())),
        }
    }

    /// Network calls that one image costs with this guidance weight, by default the recipe's.
    pub fn network_calls(&self, sampler: SamplerConfig, steps: usize, w: Option<f64>) -> usize {
        let recipe = &self.model.recipe;
        let per_sample = sampler.sampler.network_calls(steps);
        // Without guidance the branch without class and prompt is not called. A source image guides
        // too.
        let unguided = recipe.guidance == Guidance::ClassifierFree
            && !self.edits_by_instruction()
            && w.unwrap_or_else(|| recipe.default_w()) == 0.0;
        match unguided {
            true => per_sample,
            false => per_sample * self.denoiser.network_calls(),
        }
    }

    /// What the network takes next to its latents.
    pub(super) fn extra_input(&self) -> Option<ExtraInput> {
        self.model.network.config().extra_input()
    }

    /// Whether the model inpaints from a control image.
    pub(super) fn inpaints_by_control(&self) -> bool {
        let control = self.model.recipe.control;
        control.is_some_and(|control| control.task == Task::Inpaint)
    }
}
