//! Errors and warnings for requests that contradict a recipe.

use super::role::DistilledFor;
use crate::limits::OutOfRange;
use std::fmt;

/// A request that contradicts the model's recipe.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RecipeError {
    /// A deterministic student sampled stochastically or the reverse: the jumps differ by a factor
    /// of two.
    #[error(
        "this student was distilled for the {trained} sampler and cannot be sampled with the {asked} one: its steps would be off by a factor of two. Sample it as it was trained, or distil another student for the {asked} sampler"
    )]
    WrongSampler {
        /// What it was distilled for.
        trained: DistilledFor,
        /// What the request needs.
        asked: DistilledFor,
    },
    /// A sampler for teachers with a student of one sampler.
    #[error(
        "this student was distilled only for the {trained} sampler: samplers of teachers take steps that it has not learnt"
    )]
    TeacherSampler {
        /// What it was distilled for.
        trained: DistilledFor,
    },
    /// An encoder that should generate, or a decoder that should encode.
    #[error("this model was distilled as {trained}, so it cannot {task}")]
    WrongDirection {
        /// What it is.
        trained: &'static str,
        /// What was requested.
        task: &'static str,
    },
    /// A guidance weight that no model is for.
    #[error(transparent)]
    Number(#[from] OutOfRange),
    /// Another w than the one folded into the weights.
    #[error("this student was distilled only for w = {fixed} (guidance scale {}), it cannot be sampled with w = {asked}: omit the guidance weight, or use a student that takes w as an input", fixed + 1.0)]
    FixedW {
        /// The w of the weights.
        fixed: f64,
        /// What was requested.
        asked: f64,
    },
    /// Another guidance scale of the source image than the one folded into the weights.
    #[error(
        "the weights are for an image guidance scale of {fixed} only, they cannot be sampled with {asked}: omit the image guidance scale, or use a model that is guided by its two branches"
    )]
    FixedImageGuidance {
        /// The scale of the weights.
        fixed: f64,
        /// What was requested.
        asked: f64,
    },
    /// Guidance for a model without an unconditional branch.
    #[error(
        "this model was trained without guidance, so w = {asked} has no meaning: omit the guidance weight"
    )]
    NoGuidance {
        /// What was requested.
        asked: f64,
    },
    /// A class that the model does not know.
    #[error("class {asked} was requested, but the model has {classes} classes, 0 to {}", classes.saturating_sub(1))]
    UnknownClass {
        /// What was requested.
        asked: u32,
        /// Number of classes.
        classes: usize,
    },
}

/// A request that is possible, but not what the model was trained for.
#[derive(Clone, Debug, PartialEq)]
pub enum Warning {
    /// A step count that the student was not distilled for.
    Steps {
        /// What it was distilled for.
        trained: usize,
        /// What was requested.
        asked: usize,
    },
    /// w outside the range seen in training.
    WOutsideRange {
        /// What was requested.
        asked: f64,
        /// Smallest w seen in training.
        w_min: f64,
        /// Largest w seen in training.
        w_max: f64,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::Steps { trained, asked } => write!(
                f,
                "this student was distilled for {trained} steps and is sampled with {asked}: expect worse images"
            ),
            Warning::WOutsideRange {
                asked,
                w_min,
                w_max,
            } => write!(
                f,
                "w = {asked} (guidance scale {}) is outside the range this student was distilled for, w = {w_min} to {w_max}: expect worse images",
                asked + 1.0
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_say_what_was_asked_for() {
        let steps = Warning::Steps {
            trained: 4,
            asked: 3,
        };
        let message = steps.to_string();
        assert!(message.contains("for 4 steps") && message.contains("with 3"));
        let w = Warning::WOutsideRange {
            asked: 9.0,
            w_min: 0.0,
            w_max: 4.0,
        };
        let message = w.to_string();
        assert!(message.contains("w = 9 (guidance scale 10)"), "{message}");
    }
}
