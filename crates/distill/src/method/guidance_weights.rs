//! Guidance weights, and how a student takes them.

use super::{Draws, MethodError};
use crate::error::RecipeError;
use fewstep_diffusion::Guidance;
use fewstep_diffusion::limits::factor;
use fewstep_diffusion::random::Purpose;
use fewstep_formats::Model;
use fewstep_nn::{Backbone, WEmbedding};
use serde::{Deserialize, Serialize};

/// Which guidance weights a student is trained for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a number, or a range [min, max]")]
pub enum GuidanceWeights {
    /// w is an input of the student, drawn uniformly from `[min, max]` per sample.
    Range([f64; 2]),
    /// One w for all: the single-w ablation, no input.
    Single(f64),
}

impl GuidanceWeights {
    /// How a model that was distilled for these weights takes w.
    pub fn guidance(&self) -> Guidance {
        match *self {
            GuidanceWeights::Single(w) => Guidance::Fixed { w },
            GuidanceWeights::Range([w_min, w_max]) => Guidance::Input {
                w_min,
                w_max,
                default: w_min.max(1.0f64.min(w_max)),
            },
        }
    }

    /// The weight of each sample of a batch.
    pub fn draw(&self, draws: Draws) -> Vec<f64> {
        match *self {
            GuidanceWeights::Range([min, max]) => draws
                .uniform(Purpose::GuidanceWeight)
                .map(|u| min + (max - min) * u)
                .collect(),
            GuidanceWeights::Single(w) => vec![w; draws.batch],
        }
    }

    /// What an error at w counts where errors are to count alike at every w: 1 / (1 + w)², in
    /// multiples of its mean over the range, 1 / ((1 + w_min) (1 + w_max)).
    pub(super) fn balance(&self, w: f64) -> f64 {
        match *self {
            GuidanceWeights::Range([min, max]) => (1.0 + min) * (1.0 + max) / (1.0 + w).powi(2),
            GuidanceWeights::Single(_) => 1.0,
        }
    }

    /// Checks that errors can be balanced over these weights.
    pub(crate) fn check_balance(self) -> Result<(), RecipeError> {
        let problem = match self {
            GuidanceWeights::Range([min, _]) if min > -1.0 => return Ok(()),
            GuidanceWeights::Range(_) => "needs a range of `w` above -1",
            GuidanceWeights::Single(_) => {
                "weighs errors over a range of `w`, and there is a single w"
            }
        };
        let message = format!("`balance_w` {problem}: remove it");
        Err(RecipeError::new("balance_w", message))
    }

    /// The network, with an input for w where these weights need one and it has none.
    pub(super) fn student(
        &self,
        network: Backbone,
        embedding: WEmbedding,
    ) -> Result<Backbone, MethodError> {
        match (self, network.config().takes_w()) {
            (GuidanceWeights::Range(_), false) => Ok(network.with_w_input(embedding)),
            (GuidanceWeights::Single(_), true) => Err(MethodError::Teacher(
                "the teacher takes w as an input, but the recipe asks for a single w: give a range `w = [min, max]`".into(),
            )),
            _ => Ok(network),
        }
    }

    /// Checks the range.
    pub(crate) fn check(self) -> Result<(), RecipeError> {
        match self {
            GuidanceWeights::Range([min, max]) => {
                factor("w", min)?;
                factor("w", max)?;
                match min < max {
                    true => Ok(()),
                    false => Err(RecipeError::new(
                        "w",
                        format!(
                            "`w` is [{min}, {max}]: the first must be below the second. For a single weight write `w = {min}`"
                        ),
                    )),
                }
            }
            GuidanceWeights::Single(w) => Ok(factor("w", w)?),
        }
    }
}

/// Refuses a teacher that has no unconditional branch to guide with.
pub(super) fn check_unconditional_branch(teacher: &Model) -> Result<(), MethodError> {
    match teacher.recipe.guidance {
        Guidance::None => Err(MethodError::Teacher(
            "the teacher was trained without dropped labels, so it has no unconditional branch to guide with: train it with `label_dropout` above 0".into(),
        )),
        _ => Ok(()),
    }
}
