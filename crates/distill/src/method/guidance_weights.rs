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

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: GuidanceWeights = GuidanceWeights::Range([-0.5, 3.0]);

    /// By the midpoint rule.
    #[test]
    fn balance_is_one_in_the_mean() {
        const POINTS: usize = 10_000;
        let at = |k: usize| -0.5 + 3.5 * (k as f64 + 0.5) / POINTS as f64;
        let sum: f64 = (0..POINTS).map(|k| RANGE.balance(at(k))).sum();
        assert!((sum / POINTS as f64 - 1.0).abs() < 1e-6);
        // Four times the factor at half of 1 + w.
        assert!((RANGE.balance(0.5) / RANGE.balance(2.0) - 4.0).abs() < 1e-12);
        assert_eq!(GuidanceWeights::Single(2.0).balance(2.0), 1.0);
    }

    #[test]
    fn a_students_own_w_is_one_where_it_can_be() {
        for (range, expected) in [([-0.5, 3.0], 1.0), ([0.0, 0.5], 0.5), ([2.0, 4.0], 2.0)] {
            match GuidanceWeights::Range(range).guidance() {
                Guidance::Input {
                    w_min,
                    w_max,
                    default,
                } => assert_eq!(([w_min, w_max], default), (range, expected)),
                other => panic!("{other:?}"),
            }
        }
        let fixed = GuidanceWeights::Single(2.0).guidance();
        assert_eq!(fixed, Guidance::Fixed { w: 2.0 });
    }

    #[test]
    fn weights_that_cannot_be_drawn_or_balanced_are_refused() {
        assert!(RANGE.check().is_ok() && RANGE.check_balance().is_ok());
        assert!(GuidanceWeights::Single(2.0).check().is_ok());
        for wrong in [
            GuidanceWeights::Range([1.0, 1.0]),
            GuidanceWeights::Range([2.0, 1.0]),
            GuidanceWeights::Range([-1e9, 1.0]),
            GuidanceWeights::Range([1.0, 1e9]),
            GuidanceWeights::Single(f64::NAN),
        ] {
            assert_eq!(wrong.check().expect_err("refused").key, "w", "{wrong:?}");
        }
        for wrong in [
            GuidanceWeights::Range([-1.0, 1.0]),
            GuidanceWeights::Range([-2.0, 1.0]),
            GuidanceWeights::Single(1.0),
        ] {
            let refused = wrong.check_balance();
            assert_eq!(refused.expect_err("refused").key, "balance_w", "{wrong:?}");
        }
    }
}
