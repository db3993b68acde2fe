//! Settings of guidance distillation.

use crate::error::RecipeError;
use crate::optim::OptimConfig;
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
        match self.updates {
            0 => Err(RecipeError::new(
                "guided.updates",
                "`guided.updates` is 0, it must be at least 1",
            )),
            _ => Ok(()),
        }
    }
}
