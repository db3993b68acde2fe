//! Adapting a student: what its teacher has learnt anew, the student learns too, and keeps its
//! steps.
//!
//! # Source
//! Alg. 2 of 2202.00512 and of 2210.03142, from another start.
//!
//! # Objective
//! K deterministic steps of the changed teacher t → ... → t'' from z_t ~ q(z_t | x) give z_{t''};
//! the target is the prediction whose single step t → t'' lands there. The loss is ω(λ_t)
//! ‖x̃ − x̂_η(z_t, w, c)‖² at the N times of the student's grid.
//!
//! # Departures from the papers
//! The student starts from one that is distilled already, with the LoRA of the teacher where that
//! has one, and so needs no halvings: its N steps learn from all of the teacher's at once.

mod config;
mod objective;

pub use config::AdaptConfig;
pub use objective::Adapt;

use super::start::{Start, TrainedSteps};
use super::{GuidanceWeights, LossWeighting, Method, MethodError, Objective, Teacher};
use fewstep_diffusion::SamplerRecipe;
use fewstep_formats::Model;
use fewstep_nn::{Backbone, ConfigError, Lora};
use std::fmt;
use std::sync::Arc;

/// Adapting a student as a phase.
#[derive(Clone)]
pub struct AdaptMethod {
    /// Its settings.
    pub config: AdaptConfig,
    /// The few-step student that it starts from; none where a recipe is only described.
    pub start: Option<Arc<Model>>,
    /// Its sampling steps; by default those that it was distilled for.
    pub steps: Option<usize>,
    /// Which w; by default those of the student.
    pub weights: Option<GuidanceWeights>,
}

impl fmt::Debug for AdaptMethod {
    /// Equal for equal methods, the weights that the student starts from included.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = self.start.as_deref().map(Model::weights_hash);
        f.debug_struct("AdaptMethod")
            .field("config", &self.config)
            .field("start", &start)
            .field("steps", &self.steps)
            .field("weights", &self.weights)
            .finish()
    }
}

impl AdaptMethod {
    fn start(&self) -> Start<'_> {
        Start {
            section: "",
            model: self.start.as_deref(),
            steps: self.steps,
            trained: TrainedSteps::All,
            weights: self.weights,
        }
    }

    fn substeps(&self, start: Start<'_>) -> Result<usize, MethodError> {
        let steps = start.steps().unwrap_or(1);
        self.config.substeps(steps).map_err(MethodError::Teacher)
    }

    /// ω: one that suits what the student predicts.
    fn weighting(start: Start<'_>) -> Result<LossWeighting, MethodError> {
        let recipe = &start.model()?.recipe;
        LossWeighting::choose(None, recipe.prediction, &recipe.schedule)
    }
}

impl Method for AdaptMethod {
    fn name(&self) -> &'static str {
        "adapted"
    }

    fn calls_teacher(&self) -> bool {
        true
    }

    fn supports_lora(&self) -> bool {
        true
    }

    fn steps(&self) -> Option<usize> {
        self.start().steps()
    }

    fn starts_from(&self) -> Option<&Model> {
        self.start.as_deref()
    }

    fn check(&self, teacher: &Model) -> Result<(), MethodError> {
        let start = self.start();
        start.check(teacher)?;
        self.substeps(start).map(drop)
    }

    fn check_settings(&self, _teacher: &Model) -> Result<(), MethodError> {
        let start = self.start();
        let recipe = &start.model()?.recipe;
        Self::weighting(start)?.check_bounded_for(recipe.prediction, &recipe.schedule)
    }

    /// The student that it starts from, with the LoRA that the teacher has learnt.
    fn student(&self, base: &Model, seed: u64) -> Result<Backbone, MethodError> {
        let network = self.start().model()?.network.clone();
        let Some(lora) = base.network.lora() else {
            return Ok(network);
        };
        let invalid = |error: ConfigError| MethodError::Teacher(error.to_string());
        let network = network.with_lora(lora.config(), seed).map_err(invalid)?;
        let learnt = lora.layers();
        let mut layers = network.lora().map(Lora::layers).unwrap_or_default();
        for own in &mut layers {
            match learnt.iter().find(|layer| layer.name == own.name) {
                Some(layer) if layer.shape == own.shape => *own = layer.clone(),
                Some(layer) => {
                    return Err(MethodError::Teacher(format!(
                        "the student's layer {} has the shape {:?} and the teacher's {:?}: give a student that was distilled from this teacher",
                        own.name, own.shape, layer.shape
                    )));
                }
                // The input for w, which a teacher has not.
                None => {}
            }
        }
        Ok(network.with_lora_layers(&layers))
    }

    fn objective(&self, teacher: &Teacher<'_>) -> Result<Box<dyn Objective>, MethodError> {
        let start = self.start();
        Ok(Box::new(Adapt {
            teacher: teacher.guided()?,
            steps: start.steps().unwrap_or(1),
            substeps: self.substeps(start)?,
            weights: start.weights_of(start.model()?),
            weighting: Self::weighting(start)?,
        }))
    }

    fn result(&self, recipe: &mut SamplerRecipe) {
        self.start().result(recipe);
    }
}
