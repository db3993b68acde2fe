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
