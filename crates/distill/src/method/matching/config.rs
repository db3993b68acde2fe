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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_range_are_refused() {
        let key = |change: fn(&mut MatchingConfig)| {
            let mut config = MatchingConfig::default();
            change(&mut config);
            config.validate().expect_err("refused").key
        };
        assert_eq!(MatchingConfig::default().validate(), Ok(()));
        assert_eq!(key(|c| c.steps = Some(0)), "steps");
        assert_eq!(key(|c| c.critic_updates = 0), "critic_updates");
        assert_eq!(key(|c| c.times = [0.5, 0.5]), "times");
        assert_eq!(key(|c| c.w_factor = 0.0), "w_factor");
        assert_eq!(key(|c| c.gan.weight = -0.1), "gan.weight");
        assert_eq!(
            key(|c| c.gan.fake_score_weight = 0.0),
            "gan.fake_score_weight"
        );
        assert_eq!(key(|c| c.gan.heads.width = 3), "gan.heads.width");
        assert_eq!(key(|c| c.fake_score.clip = 0.0), "fake_score.clip");
    }

    /// A GAN term is off unless it counts something, and its heads judge at the times of the scores.
    #[test]
    fn heads_are_there_where_they_count() {
        let mut config = MatchingConfig::default();
        assert_eq!(config.gan.heads(), None);
        assert!(config.discrimination().is_none());
        config.gan.weight = 0.5;
        config.gan.heads.width = 32;
        config.gan.fake_score_weight = 0.25;
        config.times = [0.1, 0.8];
        assert_eq!(config.gan.heads(), Some(config.gan.heads));
        let (weight, learnt) = config.discrimination().expect("a GAN term");
        assert_eq!((weight, learnt.times), (0.25, [0.1, 0.8]));
    }

    /// Settings that say nothing are not written, so that recipes stay short.
    #[test]
    fn what_is_usual_is_not_written() {
        let written = |config: &MatchingConfig| toml::to_string(config).expect("TOML");
        let usual = MatchingConfig::default();
        let changed = MatchingConfig {
            w_factor: 2.0,
            trained_steps: TrainedSteps::Last,
            gan: GanConfig {
                weight: 0.5,
                ..GanConfig::default()
            },
            ..usual.clone()
        };
        for key in ["w_factor", "trained_steps", "gan"] {
            assert!(!written(&usual).contains(key), "{key}");
            assert!(written(&changed).contains(key), "{key}");
        }
        assert_eq!(toml::from_str(&written(&changed)), Ok(changed));
    }
}
