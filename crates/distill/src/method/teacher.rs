//! The model before a phase, for methods that learn from it.

use super::{Distance, DistanceConfig, MethodError};
use burn::module::Module;
use fewstep_diffusion::{Clipped, Denoiser, DiffusionModel, SamplerRecipe, Schedule};
use fewstep_formats::Model;
use fewstep_nn::{Backbone, LoraConfig, Precision};

/// The model before a phase.
pub struct Teacher<'a> {
    /// The model: its network, and how it is sampled.
    pub model: &'a Model,
    /// The type of its frozen copy's weights.
    pub precision: Precision,
    /// Whether LoRA are added to the copy's weights once, which takes them a second time, or block by
    /// block at every call.
    pub merged: bool,
    /// The LoRA that the phase trains, where it does not train all weights.
    pub lora: Option<&'a LoraConfig>,
}

impl Teacher<'_> {
    /// A frozen copy of the model, without graph.
    ///
    /// # Errors
    /// When the model's schedule is not valid.
    pub fn frozen(&self) -> Result<DiffusionModel<Backbone>, MethodError> {
        let network = self.model.network.valid();
        let network = match self.merged {
            true => network.merged(),
            false => network,
        };
        Ok(DiffusionModel {
            network: network.with_weight_dtype(self.precision),
            schedule: Schedule::new(self.model.recipe.schedule.clone())
                .map_err(|e| MethodError::Teacher(e.to_string()))?,
            prediction: self.model.recipe.prediction,
        })
    }

    /// A frozen copy of the model, guided by w where it has branches to guide with, and towards the
    /// source image of a model that sees one.
    ///
    /// # Errors
    /// As [`frozen`](Self::frozen).
    pub(super) fn guided(&self) -> Result<Box<dyn Denoiser>, MethodError> {
        Ok(self.model.guided(self.frozen()?))
    }

    /// A distance between the model's images, with the network that it may need.
    pub(super) fn distance(&self, config: &DistanceConfig) -> Result<Distance, MethodError> {
        let device = self.model.network.devices().into_iter().next();
        let device = device.unwrap_or_default();
        Ok(config.load(self.model.recipe.resolution, &device)?)
    }
}

/// The denoiser, with its images clipped to [-1, 1] if `clip`.
pub(super) fn clipped(denoiser: Box<dyn Denoiser>, clip: bool) -> Box<dyn Denoiser> {
    match clip {
        true => Box::new(Clipped::to_images(denoiser)),
        false => denoiser,
    }
}

/// Checks that the teacher can be asked at every noise level.
pub(super) fn check_every_level(teacher: &SamplerRecipe) -> Result<(), String> {
    match teacher.role.knows_every_level() {
        true => Ok(()),
        false => Err(
            "the teacher is a student of few steps, which does not predict as a diffusion model does at every noise level: give the teacher that it was distilled from".into(),
        ),
    }
}

/// Refuses clipped targets for a teacher that is not clipped in sampling: what it generates has no
/// range.
pub(super) fn check_clipping(clip: bool, teacher: &SamplerRecipe) -> Result<(), MethodError> {
    match clip && !teacher.clip {
        true => Err(MethodError::Teacher(
            "`clip_targets` is for models of pixels, and this teacher generates latents, which have no range: remove it".into(),
        )),
        false => Ok(()),
    }
}
