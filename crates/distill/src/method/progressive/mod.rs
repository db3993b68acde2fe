//! Stage two: halves the number of sampling steps of a w-conditioned model, again and again.
//!
//! # Source
//! Alg. 2 of 2202.00512 and alg. 2 of 2210.03142; section 3.2 of the latter for the stochastic
//! variant, 4.3 for the encoder.
//!
//! # Objective
//! Two deterministic teacher steps t → t' → t'' from z_t ~ q(z_t | x) give z_{t''}; the target is
//! the prediction whose single step t → t'' lands there. As a velocity it is ṽ = (z_{t''} − cos δ
//! z_t) / sin δ with δ = φ_{t''} − φ_t, and x̃ = α_t z_t − σ_t ṽ is the papers' formula;
//! [`TargetForm`] says how it is computed. The loss is ω(λ_t) ‖x̃ − x̂_η(z_t, w, c)‖².
//!
//! # Departures from the paper
//! A step to t'' = 0 ends at the clean image (φ = 0), which is the predecessor's rule "the last
//! target is the teacher's x̂". For the stochastic variant the paper does not print its edge cases;
//! by the lengths of the jumps, t = 1/N takes the teacher's single jump to 0, and t = 2/N ends at 0
//! too. An encoder starts at the image without noise, as it does when it is used; schedules of
//! latent models have noticeable noise at t = 0.

mod config;
mod objective;

pub use config::{Halving, ProgressiveConfig, Updates};
pub use objective::{Progressive, TargetForm};

use super::balanced::balanced;
use super::guidance_weights::check_unconditional_branch;
use super::teacher::{check_clipping, clipped};
use super::{
    GuidanceWeights, LossWeighting, Method, MethodError, Objective, StudentPrediction, Teacher,
};
use fewstep_diffusion::{DistilledFor, Role, SamplerRecipe};
use fewstep_formats::Model;
use fewstep_nn::{Backbone, WEmbedding};

/// One halving as a phase.
#[derive(Clone, Debug)]
pub struct ProgressiveMethod {
    /// The sampler to prepare for.
    pub halving: Halving,
    /// Steps of the student.
    pub steps: usize,
    /// Which w; none where the teacher knows no guidance.
    pub weights: Option<GuidanceWeights>,
    /// How w enters the network.
    pub embedding: WEmbedding,
    /// ω; by default one that suits what the student predicts.
    pub weighting: Option<LossWeighting>,
    /// What the student predicts.
    pub prediction: StudentPrediction,
    /// Whether the teacher's images are clipped to [-1, 1] in targets, as in sampling.
    pub clip_targets: bool,
    /// Whether errors count alike at every w.
    pub balance_w: bool,
    /// How targets are computed.
    pub target: TargetForm,
    /// Whether this is the first phase: without stage one its teacher is the guided pair.
    pub is_first: bool,
}

impl ProgressiveMethod {
    /// Whether the teacher, where it has two branches, is guided by them.
    fn guides(&self) -> bool {
        self.is_first && self.weights.is_some()
    }

    /// What the student is distilled for.
    fn sampler(&self) -> DistilledFor {
        match self.halving {
            Halving::Deterministic => DistilledFor::Deterministic,
            Halving::Stochastic => DistilledFor::Stochastic,
            Halving::Encoder => DistilledFor::Encoder,
        }
    }

    /// Checks that a teacher of few steps has learnt those that are halved.
    fn check_steps(&self, teacher: &SamplerRecipe) -> Result<(), MethodError> {
        let halved = 2 * self.steps;
        let message = match teacher.role {
            Role::Student {
                sampler,
                steps: Some(steps),
            } if sampler == self.sampler() && steps != halved => format!(
                "the teacher is a student with {steps} as its number of steps, and `progressive.start_steps` is {halved}: give a student with {halved} (models/{} of a run), or the teacher that it was distilled from",
                self.halving.phase(halved)
            ),
            Role::Student { sampler, .. }
                if sampler != self.sampler() && !teacher.role.knows_every_level() =>
            {
                format!(
                    "the teacher was distilled for the {sampler} sampler, and these halvings are for the {} one: give the teacher that it was distilled from",
                    self.sampler()
                )
            }
            _ => return Ok(()),
        };
        Err(MethodError::Teacher(message))
    }

    fn weighting(&self, teacher: &Model) -> Result<LossWeighting, MethodError> {
        let recipe = &teacher.recipe;
        LossWeighting::choose(self.weighting, self.prediction.of(recipe), &recipe.schedule)
    }
}

impl Method for ProgressiveMethod {
    fn name(&self) -> &'static str {
        "progressive"
    }

    fn calls_teacher(&self) -> bool {
        true
    }

    fn supports_lora(&self) -> bool {
        true
    }

    fn steps(&self) -> Option<usize> {
        Some(self.steps)
    }

    fn check(&self, teacher: &Model) -> Result<(), MethodError> {
        match self.guides() {
            true => check_unconditional_branch(teacher),
            false => Ok(()),
        }
    }

    fn check_settings(&self, teacher: &Model) -> Result<(), MethodError> {
        let recipe = &teacher.recipe;
        self.check_steps(recipe)?;
        check_clipping(self.clip_targets, recipe)?;
        let kind = self.prediction.of(recipe);
        self.weighting(teacher)?
            .check_bounded_for(kind, &recipe.schedule)
    }

    fn student(&self, base: &Model, _seed: u64) -> Result<Backbone, MethodError> {
        match self.weights {
            Some(weights) => weights.student(base.network.clone(), self.embedding),
            None => Ok(base.network.clone()),
        }
    }

    fn objective(&self, teacher: &Teacher<'_>) -> Result<Box<dyn Objective>, MethodError> {
        let weighting = self.weighting(teacher.model)?;
        let teacher = match self.guides() {
            true => teacher.guided()?,
            false => Box::new(teacher.frozen()?),
        };
        let objective = Box::new(Progressive {
            teacher: clipped(teacher, self.clip_targets),
            steps: self.steps,
            halving: self.halving,
            weights: self.weights,
            weighting,
            target: self.target,
        });
        Ok(balanced(objective, self.weights, self.balance_w))
    }

    fn result(&self, recipe: &mut SamplerRecipe) {
        recipe.role = Role::Student {
            sampler: self.sampler(),
            steps: Some(self.steps),
        };
        recipe.prediction = self.prediction.of(recipe);
        if let Some(weights) = self.weights {
            recipe.guidance = weights.guidance();
        }
    }
}
