//! Settings of guidance distillation.

use crate::error::RecipeError;
use crate::optim::OptimConfig;
use fewstep_diffusion::limits::{UPDATES, within};
use serde::{Deserialize, Serialize};

/// Stage one: fold guidance into one student.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuidedConfig {
    /// Updates.
    pub updates: u64,
    /// How the parameters move.
    pub optim: OptimConfig,
}

impl GuidedConfig {
    pub(crate) fn validate(&self) -> Result<(), RecipeError> {
        self.optim
            .validate()
            .map_err(|e| e.within("guided.optim"))?;
        Ok(within("guided.updates", self.updates, 1..=UPDATES)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> GuidedConfig {
        GuidedConfig {
            updates: 1,
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
        assert_eq!(key(|c| c.optim.lr = 0.0), "guided.optim.lr");
    }
}
