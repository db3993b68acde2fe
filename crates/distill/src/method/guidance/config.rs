//! Settings of guidance distillation.

use crate::error::RecipeError;
use crate::optim::OptimConfig;
use fewstep_diffusion::limits::{STEPS, UPDATES, within};
use serde::{Deserialize, Serialize};

/// Stage one: fold guidance into one student.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuidedConfig {
    /// Updates.
    pub updates: u64,
    /// DDIM steps by which the teacher, guided by the w of the sample, takes noise to the noisy image
    /// that the student learns on. Without it noisy images are the data's with noise, as in the
    /// paper; with it the data's own images are not used, only their classes, captions or controls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trajectory_steps: Option<usize>,
    /// How the parameters move.
    pub optim: OptimConfig,
}

impl GuidedConfig {
    pub(crate) fn validate(&self) -> Result<(), RecipeError> {
        self.optim
            .validate()
            .map_err(|e| e.within("guided.optim"))?;
        if let Some(steps) = self.trajectory_steps {
            within("guided.trajectory_steps", steps, 1..=STEPS)?;
        }
        Ok(within("guided.updates", self.updates, 1..=UPDATES)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> GuidedConfig {
        GuidedConfig {
            updates: 1,
            trajectory_steps: None,
            optim: OptimConfig::of(8, 1e-4),
        }
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        let key = |change: fn(&mut GuidedConfig)| {
            let mut config = config();
            change(&mut config);
            config.validate().expect_err("refused").key
        };
        assert_eq!(config().validate(), Ok(()));
        assert_eq!(key(|c| c.updates = 0), "guided.updates");
        let steps = key(|c| c.trajectory_steps = Some(0));
        assert_eq!(steps, "guided.trajectory_steps");
        assert_eq!(key(|c| c.optim.lr = 0.0), "guided.optim.lr");
    }
}
