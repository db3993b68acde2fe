//! Settings of distribution matching.

use crate::error::RecipeError;
use crate::method::adversarial::{Discrimination, HeadsConfig};
use crate::method::draws::check_times;
use crate::method::{PlayerConfig, TrainedSteps};
use fewstep_diffusion::limits::{FACTOR, STEPS, UPDATES, above_zero, count, within};
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
    #[serde(skip_serializing_if = "TrainedSteps::is_default")]
    pub trained_steps: TrainedSteps,
    /// Updates of the fake score for each of the student.
    pub critic_updates: u64,
    /// Between which times noise is added to the student's images: `[min, max]`.
    pub times: [f64; 2],
    /// Whether the teacher's images are clipped to [-1, 1], as in sampling.
    pub clip_targets: bool,
    /// The teacher is guided by this times the student's w.
    #[serde(skip_serializing_if = "is_one")]
    pub w_factor: f64,
    /// How the fake score moves.
    pub fake_score: PlayerConfig,
    /// The GAN term.
    #[serde(skip_serializing_if = "GanConfig::is_default")]
    pub gan: GanConfig,
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
            w_factor: 1.0,
            fake_score: PlayerConfig::default(),
            gan: GanConfig::default(),
        }
    }
}

/// Whether w stays what it is.
fn is_one(factor: &f64) -> bool {
    *factor == 1.0
}

/// The GAN term (section 4.3 of 2405.14867): heads on the fake score's features tell the student's
/// images from the data's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GanConfig {
    /// What the term counts in the student's loss; 0 for none.
    pub weight: f64,
    /// What the heads' loss counts next to the fake score's denoising.
    pub fake_score_weight: f64,
    /// The heads.
    pub heads: HeadsConfig,
}

impl Default for GanConfig {
    fn default() -> Self {
        Self {
            weight: 0.0,
            fake_score_weight: 0.01,
            heads: HeadsConfig::default(),
        }
    }
}

impl GanConfig {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The heads, where there is a GAN term.
    pub(super) fn heads(&self) -> Option<HeadsConfig> {
        (self.weight > 0.0).then_some(self.heads)
    }

    fn validate(&self) -> Result<(), RecipeError> {
        within("weight", self.weight, 0.0..=FACTOR)?;
        let of_heads = self.fake_score_weight;
        within("fake_score_weight", of_heads, above_zero(FACTOR))?;
        self.heads.validate().map_err(|e| e.within("heads"))
    }
}

impl MatchingConfig {
    /// What the heads of the fake score learn, and what that counts, where there is a GAN term.
    pub(super) fn discrimination(&self) -> Option<(f64, Discrimination)> {
        self.gan.heads().map(|heads| {
            let learnt = Discrimination {
                times: self.times,
                penalty: heads.penalty,
            };
            (self.gan.fake_score_weight, learnt)
        })
    }

    pub(crate) fn validate(&self) -> Result<(), RecipeError> {
        if let Some(steps) = self.steps {
            count("steps", steps, STEPS)?;
        }
        within("critic_updates", self.critic_updates, 1..=UPDATES)?;
        check_times(self.times)?;
        within("w_factor", self.w_factor, above_zero(FACTOR))?;
        self.gan.validate().map_err(|e| e.within("gan"))?;
        let optim = self.fake_score.optim(1.0).validate();
        optim.map_err(|e| e.within("fake_score"))
    }
}
