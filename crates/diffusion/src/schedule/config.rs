//! A schedule as it is stored.

use crate::limits::{LOG_SNR, OutOfRange};
use serde::{Deserialize, Serialize};

/// What can go wrong when a schedule is built.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    /// The ends of the log-SNR range are in the wrong order.
    #[error(
        "log_snr_min is {min:?} and log_snr_max is {max:?}: the minimum must be below the maximum, and both -{LOG_SNR} to {LOG_SNR}"
    )]
    LogSnrRange {
        /// Given minimum.
        min: f64,
        /// Given maximum.
        max: f64,
    },
    /// A number of timesteps that no schedule has.
    #[error(transparent)]
    Steps(#[from] OutOfRange),
    /// A discrete schedule with betas outside (0, 1).
    #[error(
        "a discrete schedule needs betas with 0 < start <= end < 1, got {start} to {end} over {steps} steps"
    )]
    Betas {
        /// Number of steps.
        steps: usize,
        /// First beta.
        start: f64,
        /// Last beta.
        end: f64,
    },
}

/// How the betas of a discrete schedule grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BetaSchedule {
    /// Evenly spaced betas (DDPM).
    Linear,
    /// Squares of evenly spaced square roots (Stable Diffusion).
    ScaledLinear,
    /// Betas of the squared-cosine ᾱ (improved DDPM), at most 0.999; start and end are not used.
    SquaredCosine,
}

/// A schedule as it is written in a recipe or a model file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ScheduleConfig {
    /// Continuous cosine schedule whose log-SNR is truncated inside the formula:
    /// λ(t) = −2 log tan(a t + b), with λ(0) = `log_snr_max` and λ(1) = `log_snr_min`.
    Cosine {
        /// λ at t = 1; −20 in the papers.
        #[serde(default = "default_log_snr_min")]
        log_snr_min: f64,
        /// λ at t = 0; +20 in the papers.
        #[serde(default = "default_log_snr_max")]
        log_snr_max: f64,
    },
    /// The table of a model trained on integer timesteps.
    Discrete {
        /// Shape of the betas.
        betas: BetaSchedule,
        /// First beta.
        beta_start: f64,
        /// Last beta.
        beta_end: f64,
        /// Number of training timesteps, 1000 as a rule.
        steps: usize,
        /// Rescales the table so that the last step carries no signal at all (Lin et al. 2023, Alg.
        /// 1).
        #[serde(default)]
        zero_terminal_snr: bool,
        /// Whether t = 0 is a clean image (ᾱ = 1); otherwise it is the table's first entry.
        #[serde(default = "default_true")]
        clean_end: bool,
    },
}

pub(super) fn default_log_snr_min() -> f64 {
    -20.0
}
pub(super) fn default_log_snr_max() -> f64 {
    20.0
}
fn default_true() -> bool {
    true
}

impl Default for ScheduleConfig {
    fn default() -> Self {
        Self::Cosine {
            log_snr_min: default_log_snr_min(),
            log_snr_max: default_log_snr_max(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Schedule;

    /// A file that says nothing of it has a clean image at t = 0.
    #[test]
    fn tables_are_clean_at_the_end_unless_they_say() {
        let text = r#"{"kind": "discrete", "betas": "linear", "beta_start": 0.1, "beta_end": 0.2, "steps": 4}"#;
        let config: ScheduleConfig = serde_json::from_str(text).expect("valid");
        let schedule = Schedule::new(config.clone()).expect("valid");
        assert_eq!(schedule.at(0.0).sigma(), 0.0);
        assert_eq!(schedule.config(), &config);
    }
}
