//! Recipes that cannot be used.

use fewstep_diffusion::limits::OutOfRange;

/// Values of a recipe that cannot be used, or that do not fit together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RecipeError {
    /// The key at fault, with the sections it is in: `codi.intervals`.
    pub key: String,
    /// What it is, and what it must be.
    pub message: String,
}

impl RecipeError {
    pub(crate) fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            message: message.into(),
        }
    }

    /// The same error of a key inside a section.
    pub(crate) fn within(self, section: &str) -> Self {
        Self {
            key: format!("{section}.{}", self.key),
            message: format!("[{section}] {}", self.message),
        }
    }
}

impl From<OutOfRange> for RecipeError {
    fn from(error: OutOfRange) -> Self {
        Self::new(error.name.clone(), error.to_string())
    }
}
