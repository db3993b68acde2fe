//! Stage one: folds the two branches of classifier-free guidance into one student.
//!
//! # Source
//! Eq. 3 and alg. 1 of 2210.03142.
//!
//! # Objective
//! E ω(λ_t) ‖x̂_η(z_t, w, c) − x̂_w(z_t, c)‖² with w ~ U\[w_min, w_max\] and t ~ U\[0, 1\], one
//! draw per sample. For a teacher on a discrete schedule t is uniform over its timesteps. The
//! student takes w as an input; for a single w it does not need to. For a network that sees a source
//! image, x̂_w is guided towards that too (Eq. 3 of 2211.09800), with one scale for all.
//!
//! # Departures from the paper
//! None unless asked for: with `trajectory_steps` z_t does not come from the data but from the
//! teacher ([`NoisyImages`]). The paper does not print the weight; we take truncated SNR as its
//! predecessor did.

mod config;
mod noisy_images;
mod objective;

pub use config::GuidedConfig;
pub use noisy_images::NoisyImages;
pub use objective::GuidanceDistillation;

use super::balanced::balanced;
use super::guidance_weights::check_unconditional_branch;
use super::teacher::{check_clipping, check_every_level, clipped};
use super::{
    GuidanceWeights, LossWeighting, Method, MethodError, Objective, StudentPrediction, Teacher,
};
use fewstep_diffusion::{DistilledFor, Guidance, Role, SamplerRecipe};
use fewstep_formats::Model;
use fewstep_nn::{Backbone, WEmbedding};

/// Guidance distillation as a phase.
#[derive(Clone, Debug)]
pub struct GuidanceMethod {
    /// Which w.
    pub weights: GuidanceWeights,
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
    /// DDIM steps of the teacher to each noisy image; none where those are made of the data.
    pub trajectory_steps: Option<usize>,
}

impl GuidanceMethod {
    fn weighting(&self, teacher: &Model) -> Result<LossWeighting, MethodError> {
        let recipe = &teacher.recipe;
        LossWeighting::choose(self.weighting, self.prediction.of(recipe), &recipe.schedule)
    }
}

impl Method for GuidanceMethod {
    fn name(&self) -> &'static str {
        "guided"
    }

    fn calls_teacher(&self) -> bool {
        true
    }

    fn supports_lora(&self) -> bool {
        true
    }

    fn check(&self, teacher: &Model) -> Result<(), MethodError> {
        match teacher.recipe.guidance {
            Guidance::Input { .. } | Guidance::Fixed { .. } => Err(MethodError::Teacher(
                "the teacher is already a student of stage one: remove [guided]".into(),
            )),
            Guidance::None | Guidance::ClassifierFree => check_unconditional_branch(teacher),
        }
    }

    fn check_settings(&self, teacher: &Model) -> Result<(), MethodError> {
        let recipe = &teacher.recipe;
        check_every_level(recipe).map_err(MethodError::Teacher)?;
        check_clipping(self.clip_targets, recipe)?;
        let kind = self.prediction.of(recipe);
        self.weighting(teacher)?
            .check_bounded_for(kind, &recipe.schedule)
    }

    fn student(&self, base: &Model, _seed: u64) -> Result<Backbone, MethodError> {
        self.weights.student(base.network.clone(), self.embedding)
    }

    fn objective(&self, teacher: &Teacher<'_>) -> Result<Box<dyn Objective>, MethodError> {
        let objective = Box::new(GuidanceDistillation {
            teacher: clipped(teacher.guided()?, self.clip_targets),
            weights: self.weights,
            weighting: self.weighting(teacher.model)?,
            images: NoisyImages::of(self.trajectory_steps, teacher.model.recipe.clip),
        });
        Ok(balanced(objective, Some(self.weights), self.balance_w))
    }

    fn result(&self, recipe: &mut SamplerRecipe) {
        recipe.role = Role::Student {
            sampler: DistilledFor::Any,
            steps: None,
        };
        recipe.prediction = self.prediction.of(recipe);
        recipe.guidance = self.weights.guidance();
    }
}
