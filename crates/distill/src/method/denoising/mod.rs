//! Ordinary diffusion training: of a teacher, or of a model that learns to take control images or
//! what other images look like.
//!
//! # Source
//! Section 2 of 2210.03142; 2207.12598 for the dropped labels; 2302.05543 for learning a condition.
//!
//! # Objective
//! E ω(λ_t) ‖x − x̂(z_t, c or ∅)‖² over t ~ U\[0, 1\], with c (a class or a caption) replaced by ∅
//! with a fixed probability, which gives a model for classifier-free guidance.
//!
//! # Departures from the paper
//! None known. The papers do not print the weight; we take truncated SNR. Control images are never
//! dropped; source images of models that see them are, as in 2211.09800.

mod objective;

pub use objective::Denoising;

use super::{
    Control, GuidanceWeights, InRecipe, LossWeighting, Method, MethodError, Objective,
    SharedSettings, StudentPrediction, Teacher,
};
use crate::error::RecipeError;
use fewstep_diffusion::{Guidance, SamplerRecipe};
use fewstep_formats::Model;
use fewstep_nn::{Backbone, TrainedPart};

/// Denoising as a phase.
#[derive(Clone, Debug)]
pub struct DenoisingMethod {
    /// ω; by default one that suits what the network predicts.
    pub weighting: Option<LossWeighting>,
    /// Probability that an example loses its label or its caption; see [`Denoising`].
    pub label_dropout: f64,
    /// Where training starts.
    pub start: DenoisingStart,
}

/// Where denoising starts.
#[derive(Clone, Copy, Debug)]
pub enum DenoisingStart {
    /// At a network without training, which becomes a teacher.
    Scratch,
    /// At a trained model, which learns to take control images.
    Model(Control),
    /// At a trained model, which learns what other images look like.
    FineTune,
}

impl DenoisingMethod {
    fn weighting(&self, start: &Model) -> Result<LossWeighting, MethodError> {
        let recipe = &start.recipe;
        LossWeighting::choose(self.weighting, recipe.prediction, &recipe.schedule)
    }
}

impl Method for DenoisingMethod {
    fn name(&self) -> &'static str {
        match self.start {
            DenoisingStart::Scratch => "denoising",
            DenoisingStart::Model(_) => "conditioned",
            DenoisingStart::FineTune => "fine-tuned",
        }
    }

    fn has_teacher(&self) -> bool {
        !matches!(self.start, DenoisingStart::Scratch)
    }

    fn calls_teacher(&self) -> bool {
        false
    }

    /// A new ControlNet is trained whole.
    fn supports_lora(&self) -> bool {
        matches!(self.start, DenoisingStart::FineTune)
    }

    fn trained_part(&self) -> TrainedPart {
        match &self.start {
            DenoisingStart::Scratch | DenoisingStart::FineTune => TrainedPart::All,
            DenoisingStart::Model(control) => control.trained_part(),
        }
    }

    fn check_settings(&self, start: &Model) -> Result<(), MethodError> {
        let recipe = &start.recipe;
        if start.network.config().sees_source() && 3.0 * self.label_dropout > 1.0 {
            return Err(MethodError::Teacher(format!(
                "`label_dropout` is {}: with source images it is the share of examples that lose only the caption, only the source image, or both each, so it must be at most 1/3",
                self.label_dropout
            )));
        }
        self.weighting(start)?
            .check_bounded_for(recipe.prediction, &recipe.schedule)
    }

    fn student(&self, base: &Model, seed: u64) -> Result<Backbone, MethodError> {
        let network = match &self.start {
            DenoisingStart::Scratch => return Ok(base.network.clone()),
            DenoisingStart::FineTune => base.network.clone(),
            DenoisingStart::Model(control) => control.student(base, seed)?,
        };
        let config = network.config();
        if self.label_dropout > 0.0 && config.classes() > 0 && !config.has_null_class() {
            return Err(MethodError::Teacher(
                "`label_dropout` needs a class that means \"no class\", which the teacher does not have: set `label_dropout = 0`".into(),
            ));
        }
        Ok(network)
    }

    fn objective(&self, teacher: &Teacher<'_>) -> Result<Box<dyn Objective>, MethodError> {
        Ok(Box::new(Denoising {
            weighting: self.weighting(teacher.model)?,
            label_dropout: self.label_dropout,
            drops_source: teacher.model.network.config().sees_source(),
            weights: match teacher.model.recipe.guidance {
                Guidance::Input { w_min, w_max, .. } => {
                    Some(GuidanceWeights::Range([w_min, w_max]))
                }
                _ => None,
            },
        }))
    }

    /// Neither a condition nor other images change anything about how to sample.
    fn result(&self, recipe: &mut SamplerRecipe) {
        if let DenoisingStart::Model(control) = &self.start {
            recipe.control = control.spec.or(recipe.control);
        }
    }
}

impl InRecipe for DenoisingMethod {
    const PHASE: &'static str = "conditioned";

    type Config = ();

    fn check_shared(shared: &SharedSettings) -> Result<(), RecipeError> {
        let meaningless = match (shared.w, shared.student_prediction) {
            (Some(_), _) => "w",
            (None, StudentPrediction::Auto | StudentPrediction::Teacher) => return Ok(()),
            (None, _) => "student_prediction",
        };
        Err(RecipeError::new(
            meaningless,
            format!("`{meaningless}` has no meaning with `method = \"denoising\"`: remove it"),
        ))
    }

    fn from_recipe(_config: &(), shared: SharedSettings) -> Self {
        Self {
            weighting: shared.weighting,
            label_dropout: shared.label_dropout,
            start: DenoisingStart::Model(shared.control),
        }
    }
}
