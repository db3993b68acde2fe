//! What a recipe says to a request that contradicts it.

use super::role::DistilledFor;
use std::fmt;

/// Asked of a model: contradicts its recipe.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RecipeError {
    /// A deterministic student sampled stochastically or the reverse: the jumps differ by a factor of two.
    #[error(
        "this student was distilled for the {trained} sampler and cannot be sampled with the {asked} one: its steps would be off by a factor of two. Sample it as it was trained, or distil again with `progressive.halving = \"{asked}\"`"
    )]
    WrongSampler {
        /// What it was distilled for.
        trained: DistilledFor,
        /// What was asked for.
        asked: DistilledFor,
    },
    /// A sampler for teachers with a student that knows one sampler alone.
    #[error(
        "this student was distilled for the {trained} sampler alone: samplers of teachers take other steps than it has learnt"
    )]
    TeacherSampler {
        /// What it was distilled for.
        trained: DistilledFor,
    },
    /// An encoder asked to draw, or a decoder asked to encode.
    #[error("this model was distilled as {trained}, so it cannot {task}")]
    WrongDirection {
        /// What it is.
        trained: &'static str,
        /// What was asked.
        task: &'static str,
    },
    /// Another w than the one folded into the weights.
    #[error("this student was distilled for w = {fixed} alone (guidance scale {}), it cannot be sampled with w = {asked}: leave --w away, or use a student that takes w as an input", fixed + 1.0)]
    FixedW {
        /// The w of the weights.
        fixed: f64,
        /// What was asked.
        asked: f64,
    },
    /// Guidance for a model without an unconditional branch.
    #[error(
        "this model was trained without guidance, so w = {asked} has no meaning: leave --w and --guidance-scale away"
    )]
    NoGuidance {
        /// What was asked.
        asked: f64,
    },
    /// A class that the model does not know.
    #[error("class {asked} asked for, but the model has {classes} classes, 0 to {}", classes.saturating_sub(1))]
    UnknownClass {
        /// What was asked.
        asked: u32,
        /// Number of classes.
        classes: usize,
    },
}

/// Asked of a model: possible, but not what it was trained for.
#[derive(Clone, Debug, PartialEq)]
pub enum Warning {
    /// A step count that the student was not distilled for.
    Steps {
        /// What it was distilled for.
        trained: usize,
        /// What was asked.
        asked: usize,
    },
    /// w outside the range seen in training.
    WOutsideRange {
        /// What was asked.
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
                "w = {asked} (guidance scale {}) lies outside the range this student was distilled for, w = {w_min} to {w_max}: expect worse images",
                asked + 1.0
            ),
        }
    }
}
