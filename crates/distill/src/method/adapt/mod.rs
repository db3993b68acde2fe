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
//! The student starts from one that is distilled already, with what the teacher has learnt added to
//! its weights, and so needs no halvings: its N steps learn from all of the teacher's at once.

mod config;
mod objective;
mod start;

pub use config::AdaptConfig;
pub use objective::Adapt;
pub use start::AdaptedStudent;

use super::start::{Start, TrainedSteps};
use super::{GuidanceWeights, LossWeighting, Method, MethodError, Objective, Teacher};
use fewstep_diffusion::SamplerRecipe;
use fewstep_formats::Model;
use fewstep_nn::Backbone;

/// Adapting a student as a phase.
#[derive(Clone, Debug)]
pub struct AdaptMethod {
    /// Its settings.
    pub config: AdaptConfig,
    /// The few-step student that it starts from; none where a recipe is only described.
    pub start: Option<AdaptedStudent>,
    /// Its sampling steps; by default those that it was distilled for.
    pub steps: Option<usize>,
    /// Which w; by default those of the student.
    pub weights: Option<GuidanceWeights>,
}

impl AdaptMethod {
    fn start(&self) -> Start<'_> {
        Start {
            section: "",
            model: self.starts_from(),
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
        self.start.as_ref().map(AdaptedStudent::model)
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

    /// The student that it starts from, with what the teacher has learnt.
    fn student(&self, base: &Model, seed: u64) -> Result<Backbone, MethodError> {
        match &self.start {
            Some(start) => start.taught_by(base, seed),
            None => self.start().model().map(|model| model.network.clone()),
        }
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
