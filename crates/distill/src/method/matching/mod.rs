//! Distribution matching: moves a few-step student's images to where the guided teacher finds them
//! more likely than a network that has learnt the student's own images does.
//!
//! # Source
//! DMD2, 2405.14867, with its GAN term as an option; the gradient is that of DMD, 2311.18828.
//!
//! # Objective
//! For images x of the student, the gradient of the KL divergence from the teacher's distribution
//! at random noise levels: (x̂_fake(x_t, w, c) − x̂_w(x_t, c)) / mean |x − x̂_w(x_t, c)|. The fake
//! score x̂_fake is a network of its own that learns to denoise the student's images, in several
//! updates for each of the student. With the GAN term, heads on the features of the fake score learn
//! to tell the student's images from those of the data, and the student to be taken for one of them.
//!
//! # Departures from the papers
//! Student and fake score take w as an input, drawn for each image. The student keeps the
//! deterministic sampler that it was distilled for, where DMD2 adds fresh noise between steps. The
//! papers' noise levels are timesteps 20 to 980 of 1000: the same share of a continuous schedule.
//! The student is the average of its parameters. The teacher may be guided by another multiple of w than
//! the student is asked for. What the GAN term is for w ≠ 0, see
//! [`adversarial`](super::adversarial); the regularisation of its discriminator is approximate R1.

mod config;
mod fake_score;
mod generator;
mod scaled_guidance;
#[cfg(test)]
mod tests;

pub use config::{GanConfig, MatchingConfig};
pub use fake_score::FakeScore;
pub use generator::DistributionMatching;
pub use scaled_guidance::ScaledGuidance;

use super::adversarial::check_guide;
use super::teacher::{check_clipping, clipped};
use super::{
    GuidanceWeights, InRecipe, LossWeighting, Method, MethodError, Objective, Player,
    SharedSettings, Start, StartModel, Teacher, Trained, Turn, start,
};
use crate::error::RecipeError;
use burn::module::Module;
use fewstep_diffusion::{Guidance, SamplerRecipe};
use fewstep_formats::Model;
use fewstep_nn::{Backbone, JudgingScore, TrainedPart, WEmbedding};

/// The name of the fake score among the players.
pub const FAKE_SCORE: &str = "fake-score";

/// Distribution matching as a phase.
#[derive(Clone, Debug)]
pub struct MatchingMethod {
    /// Its settings.
    pub config: MatchingConfig,
    /// The few-step student that it starts from; none where a recipe is only described.
    pub start: Option<StartModel>,
    /// Which parameters of the student move.
    pub train: Trained,
    /// Which w; by default those of the student that it starts from.
    pub weights: Option<GuidanceWeights>,
    /// How w enters the fake score.
    pub embedding: WEmbedding,
    /// ω of the fake score; by default one that suits what the teacher predicts.
    pub weighting: Option<LossWeighting>,
    /// The student's peak learning rate, which is the fake score's too where it has no other.
    pub lr: f64,
}

impl MatchingMethod {
    fn start(&self) -> Start<'_> {
        Start {
            section: "matching",
            model: self.start.as_deref(),
            steps: self.config.steps,
            trained: self.config.trained_steps,
            weights: self.weights,
        }
    }

    /// The weight of the fake score's loss, which predicts as the teacher does.
    fn weighting(&self, teacher: &SamplerRecipe) -> Result<LossWeighting, MethodError> {
        LossWeighting::choose(self.weighting, teacher.prediction, &teacher.schedule)
    }
}

impl Method for MatchingMethod {
    fn name(&self) -> &'static str {
        "matching"
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
        let weights = self.start().simulation()?.weights;
        let is_guided =
            weights.is_some() && !matches!(teacher.recipe.guidance, Guidance::Fixed { .. });
        if !is_guided && self.config.w_factor != 1.0 {
            return Err(MethodError::Teacher(
                "`matching.w_factor` is for teachers that are guided by any w, and this one is not: remove it".into(),
            ));
        }
        match self.config.gan.heads() {
            Some(_) => check_guide(weights, teacher),
            None => Ok(()),
        }
    }

    fn check_settings(&self, teacher: &Model) -> Result<(), MethodError> {
        let recipe = &teacher.recipe;
        check_clipping(self.config.clip_targets, recipe)?;
        self.weighting(recipe)?
            .check_bounded_for(recipe.prediction, &recipe.schedule)
    }

    fn student(&self, _base: &Model, _seed: u64) -> Result<Backbone, MethodError> {
        Ok(self.start().model()?.network.clone())
    }

    fn objective(&self, teacher: &Teacher<'_>) -> Result<Box<dyn Objective>, MethodError> {
        let simulation = self.start().simulation()?;
        let guided = match simulation.weights {
            Some(_) => teacher.guided()?,
            None => Box::new(teacher.frozen()?),
        };
        let guided = ScaledGuidance::new(guided, self.config.w_factor);
        Ok(Box::new(DistributionMatching {
            teacher: clipped(Box::new(guided), self.config.clip_targets),
            simulation,
            times: self.config.times,
            gan: self.config.gan.weight,
        }))
    }

    fn turn(&self) -> Turn {
        Turn::every(self.config.critic_updates)
    }

    fn others(&self, teacher: &Teacher<'_>, seed: u64) -> Result<Vec<Player>, MethodError> {
        let simulation = self.start().simulation()?;
        let mut network = teacher.model.network.clone().without_dropout();
        if let Some(weights) = simulation.weights {
            network = weights.student(network, self.embedding)?;
        }
        if let Some(lora) = teacher.lora {
            let with_lora = network.with_lora(lora, seed);
            network = with_lora.map_err(|error| MethodError::Teacher(error.to_string()))?;
        }
        let trained = match teacher.lora {
            None => network.num_params(),
            Some(_) => network.num_lora_params(),
        };
        let objective = Box::new(FakeScore {
            simulation,
            weighting: self.weighting(&teacher.model.recipe)?,
            gan: self.config.discrimination(),
        });
        let optim = self.config.fake_score.optim(self.lr);
        let model = teacher.frozen()?;
        let Some(heads) = self.config.gan.heads() else {
            let part: fn(Backbone) -> Backbone = match teacher.lora {
                None => |network| network,
                Some(_) => Backbone::freeze_all_but_lora,
            };
            let trained = (model.with_network(network), part, trained);
            let player = Player::training(FAKE_SCORE, trained, optim, objective);
            return Ok(vec![player]);
        };
        let embedding = simulation.weights.map(|_| self.embedding);
        let network = JudgingScore::new(network, heads.width, embedding, seed);
        let part: fn(JudgingScore) -> JudgingScore = match teacher.lora {
            None => |network| network,
            Some(_) => JudgingScore::freeze_all_but_lora,
        };
        let trained = trained + network.num_head_params();
        let trained = (model.with_network(network), part, trained);
        Ok(vec![Player::training(
            FAKE_SCORE, trained, optim, objective,
        )])
    }

    fn result(&self, recipe: &mut SamplerRecipe) {
        self.start().result(recipe);
    }
}

impl InRecipe for MatchingMethod {
    const PHASE: &'static str = "matched";

    type Config = MatchingConfig;

    fn check_shared(shared: &SharedSettings) -> Result<(), RecipeError> {
        start::check_shared("matching", shared)
    }

    fn from_recipe(config: &MatchingConfig, shared: SharedSettings) -> Self {
        Self {
            config: config.clone(),
            start: shared.student,
            train: shared.control.train,
            weights: shared.w,
            embedding: shared.w_embedding,
            weighting: shared.weighting,
            lr: shared.lr,
        }
    }
}
