//! Adversarial fine-tuning: a few-step student learns to be taken for the data, guided by w.
//!
//! # Source
//! In the manner of D2O-F (2405.20750, revised as 2506.09376): a model that was trained by denoising
//! needs little adversarial training to generate in one step. The discriminator is that of latent
//! adversarial diffusion distillation (2403.12015): the frozen teacher's encoder with small heads on
//! its features, at random noise levels.
//!
//! # Objective
//! Real images x and images y of the student get the same noise. The discriminator D(x_t, w, c) learns
//! to tell them apart by the logistic loss, so that D comes to log p(x_t | c) − log q(x_t | c, w).
//! The student raises D(y_t, w, c) + w log p(c | y_t), where the gradient of the second term is the
//! teacher's: α (x̂_c − x̂_∅) / σ². Where both gradients cancel, ∇ log q is (1 + w) ∇ log p(y_t | c) − w
//! ∇ log p(y_t) at every noise level. This is the guided model of 2210.03142 with the data in the
//! teacher's place: for w = 0 the student's images are to be the data's, and for other w the data's as
//! the teacher guides them.
//!
//! # Departures from the papers
//! The students of D2O-F have no guidance, and keep most of their layers frozen; here that is a choice,
//! as LoRA are. Those of 2403.12015 learn from images that the guided teacher generated;
//! here from the data and from how the teacher guides. The generator's loss is −D and not log(1 + e^−D): the former
//! has the gradient of a KL divergence, to which guidance can be added. R1 needs a second derivative,
//! which the framework has not: see [`Penalty`].

mod config;
mod discriminator;
mod generator;
#[cfg(test)]
mod tests;

pub use config::{AdversarialConfig, HeadsConfig, Penalty};
pub use discriminator::{Discriminating, Discrimination};
pub use generator::Adversarial;
pub(super) use generator::{Realism, realism_cost};

use super::{
    GuidanceWeights, InRecipe, Method, MethodError, Objective, Player, SharedSettings, Start,
    StartModel, Teacher, Trained, Turn, start,
};
use crate::error::RecipeError;
use fewstep_diffusion::{Guidance, SamplerRecipe};
use fewstep_formats::Model;
use fewstep_nn::{Backbone, Discriminator, TrainedPart, WEmbedding};

/// The name of the discriminator among the players.
pub const DISCRIMINATOR: &str = "discriminator";

/// The player that judges is a discriminator.
const DISCRIMINATES: &str = "the judging network has heads";

/// Adversarial fine-tuning as a phase.
#[derive(Clone, Debug)]
pub struct AdversarialMethod {
    /// Its settings.
    pub config: AdversarialConfig,
    /// The few-step student that it starts from; none where a recipe is only described.
    pub start: Option<StartModel>,
    /// Which parameters of the student move.
    pub train: Trained,
    /// Which w; by default those of the student that it starts from.
    pub weights: Option<GuidanceWeights>,
    /// How w enters the discriminator's heads.
    pub embedding: WEmbedding,
    /// The student's peak learning rate, which is the discriminator's too where it has no other.
    pub lr: f64,
}

impl AdversarialMethod {
    fn start(&self) -> Start<'_> {
        Start {
            section: "adversarial",
            model: self.start.as_deref(),
            steps: self.config.steps,
            trained: self.config.trained_steps,
            weights: self.weights,
        }
    }
}

/// Checks that a teacher can say where w leads from the data.
pub(super) fn check_guide(
    weights: Option<GuidanceWeights>,
    teacher: &Model,
) -> Result<(), MethodError> {
    match (weights, teacher.recipe.guidance) {
        (None, _) | (Some(_), Guidance::ClassifierFree) => Ok(()),
        (Some(_), _) => Err(MethodError::Teacher(
            "the teacher takes w as an input, and a discriminator of real images needs one with two branches for guidance: give the teacher of the first stage".into(),
        )),
    }
}

impl Method for AdversarialMethod {
    fn name(&self) -> &'static str {
        "adversarial"
    }

    fn calls_teacher(&self) -> bool {
        true
    }

    fn supports_lora(&self) -> bool {
        true
    }

    fn trained_part(&self) -> TrainedPart {
        self.train.part()
    }

    fn steps(&self) -> Option<usize> {
        self.start().steps()
    }

    fn starts_from(&self) -> Option<&Model> {
        self.start.as_deref()
    }

    fn check(&self, teacher: &Model) -> Result<(), MethodError> {
        self.start().check(teacher)?;
        check_guide(self.start().simulation()?.weights, teacher)
    }

    fn student(&self, _base: &Model, _seed: u64) -> Result<Backbone, MethodError> {
        Ok(self.start().model()?.network.clone())
    }

    fn objective(&self, teacher: &Teacher<'_>) -> Result<Box<dyn Objective>, MethodError> {
        Ok(Box::new(Adversarial {
            teacher: teacher.guided()?,
            simulation: self.start().simulation()?,
            times: self.config.times,
        }))
    }

    fn turn(&self) -> Turn {
        Turn {
            every: self.config.critic_updates,
            after: self.config.head_start,
        }
    }

    fn others(&self, teacher: &Teacher<'_>, seed: u64) -> Result<Vec<Player>, MethodError> {
        let simulation = self.start().simulation()?;
        let model = teacher.frozen()?;
        let embedding = simulation.weights.map(|_| self.embedding);
        let heads = self.config.heads;
        let encoder = model.network.clone().without_dropout();
        let network = Discriminator::new(encoder, heads.width, embedding, seed);
        let objective = Discriminating {
            simulation,
            learnt: Discrimination {
                times: self.config.times,
                penalty: heads.penalty,
            },
        };
        Ok(vec![Player::new(
            DISCRIMINATOR,
            model.with_network(network),
            self.config.discriminator.optim(self.lr),
            Box::new(objective),
        )])
    }

    fn result(&self, recipe: &mut SamplerRecipe) {
        self.start().result(recipe);
    }
}

impl InRecipe for AdversarialMethod {
    const PHASE: &'static str = "adversarial";

    type Config = AdversarialConfig;

    fn check_shared(shared: &SharedSettings) -> Result<(), RecipeError> {
        start::check_shared("adversarial", shared)?;
        match shared.weighting {
            None => Ok(()),
            Some(_) => Err(RecipeError::new(
                "weighting",
                "`weighting` has no meaning with `method = \"adversarial\"`, where nothing is denoised: remove it",
            )),
        }
    }

    fn from_recipe(config: &AdversarialConfig, shared: SharedSettings) -> Self {
        Self {
            config: config.clone(),
            start: shared.student,
            train: shared.control.train,
            weights: shared.w,
            embedding: shared.w_embedding,
            lr: shared.lr,
        }
    }
}
