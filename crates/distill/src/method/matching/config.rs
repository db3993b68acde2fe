//! Settings of distribution matching.

use crate::error::RecipeError;
use crate::optim::{Anneal, OptimConfig, Optimizer};
use fewstep_diffusion::limits::{STEPS, UPDATES, count, within};
use serde::{Deserialize, Serialize};

/// Settings of distribution matching; by default those of DMD2.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MatchingConfig {
    /// The few-step student that the student starts from: a model folder, a run folder, a
    /// safetensors file, `builtin:NAME`, or a name on the hub.
    pub student: String,
    /// Its sampling steps; by default those that it was distilled for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<usize>,
    /// Which of its steps learn.
    #[serde(skip_serializing_if = "is_default")]
    pub trained_steps: TrainedSteps,
    /// Updates of the fake score for each of the student.
    pub critic_updates: u64,
    /// Between which times noise is added to the student's images: `[min, max]`.
    pub times: [f64; 2],
    /// Whether the teacher's images are clipped to [-1, 1], as in sampling.
    pub clip_targets: bool,
    /// How the fake score moves.
    pub fake_score: FakeScoreConfig,
}

impl Default for MatchingConfig {
    fn default() -> Self {
        Self {
            student: String::new(),
            steps: None,
            trained_steps: TrainedSteps::default(),
            critic_updates: 5,
            times: [0.02, 0.98],
            clip_targets: false,
            fake_score: FakeScoreConfig::default(),
        }
    }
}

/// Which steps of a student of several steps learn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrainedSteps {
    /// Every step, one in each update: the images of all steps are to be the teacher's. The paper.
    #[default]
    All,
    /// The last step, whose images are the student's: only these are to be the teacher's.
    Last,
}

fn is_default(steps: &TrainedSteps) -> bool {
    *steps == TrainedSteps::default()
}

/// How the fake score moves. Its batches are the student's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FakeScoreConfig {
    /// Peak learning rate; by default the student's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lr: Option<f64>,
    /// Updates over which it rises from 0.
    pub warmup: u64,
    /// What it does then.
    pub anneal: Anneal,
    /// The rule of an update.
    pub optimizer: Optimizer,
    /// Weight decay.
    pub weight_decay: f64,
    /// Gradients are scaled down to this global norm.
    pub clip: f64,
}

impl Default for FakeScoreConfig {
    fn default() -> Self {
        let OptimConfig {
            warmup,
            weight_decay,
            clip,
            ..
        } = OptimConfig::of(1, 1.0);
        Self {
            lr: None,
            warmup,
            anneal: Anneal::Constant,
            optimizer: Optimizer::AdamW,
            weight_decay,
            clip,
        }
    }
}

impl FakeScoreConfig {
    /// The same as of any network in training, with the student's learning rate where there is no
    /// other.
    pub(super) fn optim(&self, lr: f64) -> OptimConfig {
        OptimConfig {
            warmup: self.warmup,
            anneal: self.anneal,
            optimizer: self.optimizer,
            weight_decay: self.weight_decay,
            clip: self.clip,
            ..OptimConfig::of(1, self.lr.unwrap_or(lr))
        }
    }
}

impl MatchingConfig {
    pub(crate) fn validate(&self) -> Result<(), RecipeError> {
        if let Some(steps) = self.steps {
            count("steps", steps, STEPS)?;
        }
        within("critic_updates", self.critic_updates, 1..=UPDATES)?;
        let [min, max] = self.times;
        if !((0.0..1.0).contains(&min) && max > min && max <= 1.0) {
            return Err(RecipeError::new(
                "times",
                format!(
                    "`times` is [{min}, {max}]: it must be [min, max] with 0 <= min < max <= 1, such as [0.02, 0.98]"
                ),
            ));
        }
        let optim = self.fake_score.optim(1.0).validate();
        optim.map_err(|e| e.within("fake_score"))
    }
}
