//! Settings of conditional distillation.

use crate::error::RecipeError;
use crate::method::pairs::check_intervals;
use crate::method::{Boundary, Distance, DistanceConfig, LossWeighting, TimePairs, Times};
use fewstep_diffusion::limits::{FACTOR, within};
use serde::{Deserialize, Serialize};

/// What must not change along a trajectory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConsistencyTarget {
    /// ε̂: the paper.
    #[default]
    Noise,
    /// x̂: the public code.
    #[serde(alias = "picture")]
    Image,
}

/// Whose x̂ the earlier state is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OdeModel {
    /// The model in training as it is now: the paper. Costs no call of its own.
    #[default]
    Online,
    /// Its moving average.
    Average,
    /// The frozen model before: the public code.
    Base,
}

/// The noise in the earlier state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OdeNoise {
    /// The ε that made z_t: the paper's text.
    #[default]
    True,
    /// ε̂, which makes a DDIM step: the paper's appendix.
    Predicted,
}

/// Settings of conditional distillation; by default the paper's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CodiConfig {
    /// What must not change along a trajectory.
    pub consistency: ConsistencyTarget,
    /// Its boundary condition, for consistency of x̂.
    pub boundary: Boundary,
    /// Whose x̂ the earlier state is made of.
    pub ode_model: OdeModel,
    /// The noise in it.
    pub ode_noise: OdeNoise,
    /// Number of intervals in [0, 1]: s is one interval before t.
    pub intervals: usize,
    /// Which times are drawn.
    pub times: Times,
    /// One time for all samples of an update.
    pub shared_t: bool,
    /// Distance of the consistency term.
    pub distance: DistanceConfig,
    /// Weight of the consistency term.
    pub consistency_weight: f64,
    /// Its weight over noise levels.
    pub error_weight: LossWeighting,
    /// Distance of the guidance term.
    pub guidance_distance: DistanceConfig,
    /// Weight of the guidance term.
    pub guidance_weight: f64,
}

impl Default for CodiConfig {
    fn default() -> Self {
        Self {
            consistency: ConsistencyTarget::default(),
            boundary: Boundary::default(),
            ode_model: OdeModel::default(),
            ode_noise: OdeNoise::default(),
            intervals: 50,
            times: Times::default(),
            shared_t: true,
            distance: Distance::default(),
            consistency_weight: 1.0,
            error_weight: LossWeighting::Uniform,
            guidance_distance: Distance::default(),
            guidance_weight: 1.0,
        }
    }
}

impl CodiConfig {
    pub(super) fn pairs(&self) -> TimePairs {
        TimePairs {
            intervals: self.intervals,
            times: self.times,
            shared: self.shared_t,
        }
    }

    pub(crate) fn validate(&self) -> Result<(), RecipeError> {
        check_intervals(self.intervals)?;
        self.distance.validate()?;
        self.guidance_distance.validate()?;
        self.error_weight.check_bounded("error_weight")?;
        if let (ConsistencyTarget::Noise, Distance::Lpips(_)) = (self.consistency, &self.distance) {
            return Err(RecipeError::new(
                "distance",
                "`distance` is `lpips`, which compares images, and `consistency` is \"noise\": set `consistency = \"image\"`, or give `lpips` as `guidance_distance`",
            ));
        }
        let weights = [self.consistency_weight, self.guidance_weight];
        within("consistency_weight", weights[0], 0.0..=FACTOR)?;
        within("guidance_weight", weights[1], 0.0..=FACTOR)?;
        match weights == [0.0, 0.0] {
            true => Err(RecipeError::new(
                "consistency_weight",
                "`consistency_weight` and `guidance_weight` are 0, and there is nothing to learn: they must not both be 0",
            )),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_range_are_refused() {
        let key = |change: fn(&mut CodiConfig)| {
            let mut config = CodiConfig::default();
            change(&mut config);
            config.validate().expect_err("refused").key
        };
        assert_eq!(CodiConfig::default().validate(), Ok(()));
        assert_eq!(key(|c| c.intervals = 0), "intervals");
        assert_eq!(
            key(|c| c.distance = Distance::PseudoHuber(0.0)),
            "pseudo-huber"
        );
        assert_eq!(
            key(|c| c.guidance_distance = Distance::PseudoHuber(-1.0)),
            "pseudo-huber"
        );
        assert_eq!(key(|c| c.error_weight = LossWeighting::Snr), "error_weight");
        assert_eq!(key(|c| c.consistency_weight = -1.0), "consistency_weight");
        assert_eq!(key(|c| c.guidance_weight = f64::NAN), "guidance_weight");
    }

    /// Either term may be left out, but not both.
    #[test]
    fn one_term_is_enough() {
        for (consistency_weight, guidance_weight, works) in
            [(0.0, 1.0, true), (1.0, 0.0, true), (0.0, 0.0, false)]
        {
            let config = CodiConfig {
                consistency_weight,
                guidance_weight,
                ..CodiConfig::default()
            };
            assert_eq!(config.validate().is_ok(), works);
        }
    }
}
