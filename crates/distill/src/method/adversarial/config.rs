//! Settings of adversarial fine-tuning.

use crate::error::RecipeError;
use crate::method::draws::check_times;
use crate::method::{PlayerConfig, TrainedSteps};
use fewstep_diffusion::limits::{FACTOR, FEATURES, STEPS, UPDATES, above_zero, count, within};
use fewstep_nn::WIDTH_MULTIPLE;
use serde::{Deserialize, Serialize};

/// Settings of adversarial fine-tuning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdversarialConfig {
    /// The few-step student that the student starts from: a model folder, a run folder, a
    /// safetensors file, `builtin:NAME`, or a name on the hub.
    pub student: String,
    /// Its sampling steps; by default those that it was distilled for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<usize>,
    /// Which of its steps learn.
    pub trained_steps: TrainedSteps,
    /// Updates of the discriminator for each of the student.
    pub critic_updates: u64,
    /// Updates of the discriminator before the student's first, so that it can tell images apart by
    /// then.
    pub head_start: u64,
    /// Between which times noise is added to the images that are judged: `[min, max]`.
    pub times: [f64; 2],
    /// The discriminator's heads.
    pub heads: HeadsConfig,
    /// How the discriminator moves.
    pub discriminator: PlayerConfig,
}

impl Default for AdversarialConfig {
    fn default() -> Self {
        Self {
            student: String::new(),
            steps: None,
            trained_steps: TrainedSteps::Last,
            critic_updates: 2,
            head_start: 0,
            times: [0.02, 0.98],
            heads: HeadsConfig::default(),
            discriminator: PlayerConfig::default(),
        }
    }
}

impl AdversarialConfig {
    pub(crate) fn validate(&self) -> Result<(), RecipeError> {
        if let Some(steps) = self.steps {
            count("steps", steps, STEPS)?;
        }
        within("critic_updates", self.critic_updates, 1..=UPDATES)?;
        within("head_start", self.head_start, 0..=UPDATES)?;
        check_times(self.times)?;
        self.heads.validate().map_err(|e| e.within("heads"))?;
        let optim = self.discriminator.optim(1.0).validate();
        optim.map_err(|e| e.within("discriminator"))
    }
}

/// The heads of a discriminator.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HeadsConfig {
    /// Channels of each.
    pub width: usize,
    /// What keeps them smooth.
    pub penalty: Penalty,
}

impl Default for HeadsConfig {
    fn default() -> Self {
        Self {
            width: 64,
            penalty: Penalty::default(),
        }
    }
}

impl HeadsConfig {
    pub(in crate::method) fn validate(&self) -> Result<(), RecipeError> {
        within("width", self.width, WIDTH_MULTIPLE..=FEATURES)?;
        if !self.width.is_multiple_of(WIDTH_MULTIPLE) {
            return Err(RecipeError::new(
                "width",
                format!(
                    "`width` is {}, it must be a multiple of {WIDTH_MULTIPLE}",
                    self.width
                ),
            ));
        }
        let Penalty { weight, noise } = self.penalty;
        within("penalty.weight", weight, 0.0..=FACTOR)?;
        Ok(within("penalty.noise", noise, above_zero(FACTOR))?)
    }
}

/// Approximate R1 (2501.08316): γ ‖D(x) − D(x + s n)‖² with n ~ N(0, 1), which is γ s² ‖∇D‖² for a
/// small s.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Penalty {
    /// γ; 0 for none.
    pub weight: f64,
    /// s.
    pub noise: f64,
}

impl Default for Penalty {
    fn default() -> Self {
        Self {
            weight: 1.0,
            noise: 0.01,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_range_are_refused() {
        let key = |change: fn(&mut AdversarialConfig)| {
            let mut config = AdversarialConfig::default();
            change(&mut config);
            config.validate().expect_err("refused").key
        };
        assert_eq!(AdversarialConfig::default().validate(), Ok(()));
        assert_eq!(key(|c| c.steps = Some(0)), "steps");
        assert_eq!(key(|c| c.critic_updates = 0), "critic_updates");
        assert_eq!(key(|c| c.head_start = u64::MAX), "head_start");
        assert_eq!(key(|c| c.times = [0.5, 0.4]), "times");
        assert_eq!(key(|c| c.heads.width = 0), "heads.width");
        assert_eq!(key(|c| c.heads.width = WIDTH_MULTIPLE + 1), "heads.width");
        assert_eq!(
            key(|c| c.heads.penalty.weight = -1.0),
            "heads.penalty.weight"
        );
        assert_eq!(key(|c| c.heads.penalty.noise = 0.0), "heads.penalty.noise");
        assert_eq!(key(|c| c.discriminator.lr = Some(-1.0)), "discriminator.lr");
    }
}
