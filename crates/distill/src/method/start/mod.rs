//! The few-step student that a method starts from, where that is not the teacher.

mod checks;

use super::{GuidanceWeights, MethodError};
use fewstep_diffusion::{DistilledFor, Guidance, Role, SamplerRecipe};
use fewstep_formats::Model;

/// A student of few deterministic steps, and what a recipe asks of it.
#[derive(Clone, Copy)]
pub(super) struct Start<'a> {
    /// The student.
    pub(super) model: &'a Model,
    /// The steps that the recipe asks for; by default those that it was distilled for.
    pub(super) steps: Option<usize>,
    /// Where the recipe says that, for messages.
    pub(super) steps_key: &'static str,
    /// Which w the recipe asks for; by default those that it was distilled for.
    pub(super) weights: Option<GuidanceWeights>,
}

impl Start<'_> {
    /// Which w.
    pub(super) fn weights(&self) -> Option<GuidanceWeights> {
        self.weights.or(match self.model.recipe.guidance {
            Guidance::Input { w_min, w_max, .. } => Some(GuidanceWeights::Range([w_min, w_max])),
            Guidance::Fixed { w } => Some(GuidanceWeights::Single(w)),
            Guidance::None | Guidance::ClassifierFree => None,
        })
    }

    /// Its steps, if they are known.
    pub(super) fn steps(&self) -> Option<usize> {
        match self.model.recipe.role {
            Role::Student { steps, .. } => self.steps.or(steps),
            Role::Teacher => self.steps,
        }
    }

    /// Checks that a teacher, which is to be asked at every noise level, and the student go
    /// together.
    pub(super) fn check(&self, teacher: &Model) -> Result<(), MethodError> {
        let networks = [teacher, self.model].map(|model| model.network.config());
        let (teacher, own) = (&teacher.recipe, &self.model.recipe);
        checks::check_judge(teacher)
            .and_then(|()| checks::check_networks(networks))
            .and_then(|()| checks::check_same(teacher, own))
            .and_then(|()| checks::check_sampler((self.steps_key, self.steps), own))
            .and_then(|()| checks::check_w(self.weights(), teacher.guidance, own.guidance))
            .map_err(MethodError::Teacher)
    }

    /// Changes the sampler recipe of the teacher into that of the student that comes out.
    pub(super) fn result(&self, recipe: &mut SamplerRecipe) {
        recipe.role = Role::Student {
            sampler: DistilledFor::Deterministic,
            steps: self.steps(),
        };
        recipe.prediction = self.model.recipe.prediction;
        recipe.guidance = match self.weights() {
            Some(weights) => weights.guidance(),
            None => Guidance::None,
        };
    }
}
