//! Settings of consistency distillation.

use crate::error::RecipeError;
use crate::method::pairs::check_intervals;
use crate::method::{Boundary, Distance, DistanceConfig, LossWeighting, TimePairs, Times};
use serde::{Deserialize, Serialize};

/// How the teacher steps from t to s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Solver {
    /// One DDIM step, as latent consistency models do.
    #[default]
    Ddim,
    /// Heun's method on the angle, two calls: dz/dφ = v̂.
    Heun,
}

/// Settings of consistency distillation; by default those of latent consistency models.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConsistencyConfig {
    /// How the teacher steps.
    pub solver: Solver,
    /// The boundary condition.
    pub boundary: Boundary,
    /// Intervals of [0, 1]: the teacher steps one down.
    pub intervals: usize,
    /// Which times are drawn.
    pub times: Times,
    /// Distance.
    pub distance: DistanceConfig,
    /// Weight over noise levels.
    pub error_weight: LossWeighting,
}

impl Default for ConsistencyConfig {
    fn default() -> Self {
        Self {
            solver: Solver::default(),
            boundary: Boundary::default(),
            intervals: 50,
            times: Times::default(),
            distance: Distance::default(),
            error_weight: LossWeighting::Uniform,
        }
    }
}

impl ConsistencyConfig {
    pub(super) fn pairs(&self) -> TimePairs {
        TimePairs {
            intervals: self.intervals,
            times: self.times,
            shared: false,
        }
    }

    pub(crate) fn validate(&self) -> Result<(), RecipeError> {
        check_intervals(self.intervals)?;
        self.distance.validate()?;
        self.error_weight.check_bounded("error_weight")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_range_are_refused() {
        let key = |change: fn(&mut ConsistencyConfig)| {
            let mut config = ConsistencyConfig::default();
            change(&mut config);
            config.validate().expect_err("refused").key
        };
        assert_eq!(ConsistencyConfig::default().validate(), Ok(()));
        assert_eq!(key(|c| c.intervals = 0), "intervals");
        assert_eq!(
            key(|c| c.distance = Distance::PseudoHuber(0.0)),
            "pseudo-huber"
        );
        assert_eq!(
            key(|c| c.error_weight = LossWeighting::TruncatedSnr),
            "error_weight"
        );
    }
}
