//! Consistency distillation: makes a teacher's trajectories collapse, so that every point of one is
//! mapped to where it ends.
//!
//! # Source
//! Alg. 2 of 2303.01469; with a guided teacher, w as an input and steps of 1/50 and more it is alg.
//! 1 of 2310.04378 (latent consistency models).
//!
//! # Objective
//! E ω(λ_t) d(f_θ(z_t, t, w, c), f_θ⁻(ẑ_s, s, w, c)) where ẑ_s is the teacher's ODE step from z_t
//! to s and θ⁻, the average of θ, carries no gradient.
//!
//! # Departures from the papers
//! Times are uniform (in the angle, for the cosine schedule) rather than EDM's, and f is x̂ itself
//! where that is the identity without noise already; see [`Boundary`](super::Boundary).

mod config;
mod objective;

pub use config::{ConsistencyConfig, Solver};
pub use objective::Consistency;

use super::teacher::check_every_level;
use super::{
    Control, GuidanceWeights, InRecipe, Method, MethodError, Objective, SharedSettings,
    StudentPrediction, Teacher,
};
use fewstep_diffusion::{DistilledFor, Guidance, Role, SamplerRecipe};
use fewstep_formats::Model;
use fewstep_nn::{Backbone, TrainedPart, WEmbedding};
use std::path::Path;

/// Consistency distillation as a phase.
#[derive(Clone, Debug)]
pub struct ConsistencyMethod {
    /// Its settings.
    pub config: ConsistencyConfig,
    /// What the student learns about control images.
    pub control: Control,
    /// Which w the teacher is guided with; none for no guidance.
    pub weights: Option<GuidanceWeights>,
    /// How w enters the network.
    pub embedding: WEmbedding,
    /// What the student predicts.
    pub prediction: StudentPrediction,
}

impl Method for ConsistencyMethod {
    fn name(&self) -> &'static str {
        "consistency"
    }

    fn calls_teacher(&self) -> bool {
        true
    }

    fn weight_files(&self) -> Vec<&Path> {
        self.config.distance.weight_file().into_iter().collect()
    }

    fn trained_part(&self) -> TrainedPart {
        self.control.trained_part()
    }

    fn check(&self, teacher: &Model) -> Result<(), MethodError> {
        let message = match (self.weights, teacher.recipe.guidance) {
            (Some(_), Guidance::None) => {
                "the teacher was trained without dropped labels, so it has no unconditional branch to guide with: remove `w`"
            }
            (Some(_), Guidance::Fixed { .. })
            | (Some(GuidanceWeights::Single(_)), Guidance::Input { .. }) => {
                "the teacher has guidance folded in already: remove `w`, or give a range where it takes w as an input"
            }
            (None, Guidance::Input { .. }) => {
                "the teacher takes w as an input: give the range to learn, `w = [min, max]`"
            }
            _ => return Ok(()),
        };
        Err(MethodError::Teacher(message.into()))
    }

    fn check_settings(&self, teacher: &Model) -> Result<(), MethodError> {
        check_every_level(&teacher.recipe).map_err(MethodError::Teacher)
    }

    fn student(&self, base: &Model, seed: u64) -> Result<Backbone, MethodError> {
        let network = self.control.student(base, seed)?;
        match self.weights {
            Some(weights) => weights.student(network, self.embedding),
            None => Ok(network),
        }
    }

    fn objective(&self, teacher: &Teacher<'_>) -> Result<Box<dyn Objective>, MethodError> {
        let config = &self.config;
        let distance = teacher.distance(&config.distance)?;
        let teacher = match self.weights {
            Some(_) => teacher.guided()?,
            None => Box::new(teacher.frozen()?),
        };
        Ok(Box::new(Consistency {
            teacher,
            pairs: config.pairs(),
            solver: config.solver,
            boundary: config.boundary,
            distance,
            error_weight: config.error_weight,
            weights: self.weights,
        }))
    }

    fn result(&self, recipe: &mut SamplerRecipe) {
        recipe.control = self.control.spec.or(recipe.control);
        recipe.prediction = self.prediction.of(recipe);
        recipe.role = Role::Student {
            sampler: DistilledFor::Consistency,
            steps: None,
        };
        match (self.weights, recipe.guidance) {
            (Some(weights), _) => recipe.guidance = weights.guidance(),
            (None, Guidance::ClassifierFree) => recipe.set_unguided(),
            (None, _) => {}
        }
    }
}

impl InRecipe for ConsistencyMethod {
    const PHASE: &'static str = "consistency";

    type Config = ConsistencyConfig;

    fn from_recipe(config: &ConsistencyConfig, shared: SharedSettings) -> Self {
        Self {
            config: config.clone(),
            control: shared.control,
            weights: shared.w,
            embedding: shared.w_embedding,
            prediction: shared.student_prediction,
        }
    }
}
