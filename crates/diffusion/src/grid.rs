//! Time grids: at which times a sampler calls the network.

use crate::Schedule;
use serde::{Deserialize, Serialize};

/// How the steps of a sampler are spread over time. Integer arithmetic throughout for discrete schedules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Spacing {
    /// t = i / N. The papers' grid; the only one for distilled models.
    Uniform,
    /// Timesteps ⌊T / N⌋ i + offset: the first step is not at the noisiest time (diffusers' `leading`).
    Leading,
    /// Timesteps round(T − i T / N) − 1: the first step is at the noisiest time (diffusers' `trailing`).
    Trailing,
    /// Timesteps spread evenly over 0..T−1, both ends included (diffusers' `linspace`).
    Linspace,
    /// Even steps of log-SNR between t = 1 and the least noisy time, then 0.
    LogSnr,
}

/// Why a grid cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GridError {
    /// No steps.
    #[error("a sampler needs at least 1 step")]
    NoSteps,
    /// More steps than the model has timesteps.
    #[error("{steps} steps asked for, but the model was trained on {trained} timesteps: ask for at most {trained}")]
    TooManySteps {
        /// Asked for.
        steps: usize,
        /// Timesteps of the schedule.
        trained: usize,
    },
}

/// N + 1 strictly falling times in [0, 1]; the network is called at the first N, the last is where it ends.
#[derive(Clone, Debug, PartialEq)]
pub struct TimeGrid {
    times: Vec<f64>,
}

/// Timesteps of a continuous schedule where a spacing is defined on integers.
const CONTINUOUS_STEPS: usize = 1000;

impl TimeGrid {
    /// The grid of `steps` network calls.
    ///
    /// # Errors
    /// When `steps` is 0, or above the number of timesteps of a discrete schedule.
    pub fn new(schedule: &Schedule, spacing: Spacing, steps: usize) -> Result<Self, GridError> {
        if steps == 0 {
            return Err(GridError::NoSteps);
        }
        let trained = schedule.train_steps();
        if let Some(trained) = trained.filter(|&trained| steps > trained) {
            return Err(GridError::TooManySteps { steps, trained });
        }
        let total = trained.unwrap_or(CONTINUOUS_STEPS.max(steps));
        let mut times: Vec<f64> = match spacing {
            Spacing::Uniform => (0..steps)
                .map(|i| (steps - i) as f64 / steps as f64)
                .collect(),
            Spacing::LogSnr => log_snr_times(schedule, steps, total),
            Spacing::Leading | Spacing::Trailing | Spacing::Linspace => {
                timesteps(spacing, steps, total)
                    .into_iter()
                    .map(|k| (k + 1) as f64 / total as f64)
                    .collect()
            }
        };
        times.push(0.0);
        Ok(Self { times })
    }

    /// The papers' grid t = i / N for the N steps of a distilled model.
    ///
    /// # Panics
    /// When `steps` is 0.
    pub fn uniform(steps: usize) -> Self {
        assert!(steps > 0, "a grid needs at least one step");
        let times = (0..=steps)
            .map(|i| (steps - i) as f64 / steps as f64)
            .collect();
        Self { times }
    }

    /// A uniform grid on [0, `from`]: what is left to do for a picture that was noised to time `from`.
    ///
    /// # Panics
    /// When `steps` is 0 or `from` lies outside (0, 1].
    pub fn uniform_from(from: f64, steps: usize) -> Self {
        assert!(from > 0.0 && from <= 1.0, "a grid starts in (0, 1]");
        let mut grid = Self::uniform(steps);
        for t in &mut grid.times {
            *t *= from;
        }
        grid
    }

    /// All N + 1 times, falling, the last is 0.
    pub fn times(&self) -> &[f64] {
        &self.times
    }

    /// Number of network calls N.
    pub fn steps(&self) -> usize {
        self.times.len() - 1
    }

    /// The N pairs (t, s): call at t, step to s.
    pub fn pairs(&self) -> impl DoubleEndedIterator<Item = (f64, f64)> + '_ {
        self.times.windows(2).map(|pair| (pair[0], pair[1]))
    }
}

/// Integer timesteps in 0..total, falling.
fn timesteps(spacing: Spacing, steps: usize, total: usize) -> Vec<usize> {
    match spacing {
        Spacing::Leading => (0..steps).rev().map(|i| i * (total / steps)).collect(),
        // Rounds T − i T / N to the nearest integer, halves up, without a float.
        Spacing::Trailing => (0..steps)
            .map(|i| (2 * (total * steps - i * total) + steps) / (2 * steps) - 1)
            .collect(),
        Spacing::Linspace if steps == 1 => vec![total - 1],
        Spacing::Linspace => {
            let gaps = steps - 1;
            (0..steps)
                .rev()
                .map(|i| (2 * i * (total - 1) + gaps) / (2 * gaps))
                .collect()
        }
        Spacing::Uniform | Spacing::LogSnr => unreachable!("not defined on integer timesteps"),
    }
}

fn log_snr_times(schedule: &Schedule, steps: usize, total: usize) -> Vec<f64> {
    let start = schedule.at(1.0).log_snr();
    let end = schedule.at(1.0 / total as f64).log_snr();
    (0..steps)
        .map(|i| match i {
            0 => 1.0,
            _ => schedule.time_of_log_snr(start + (end - start) * i as f64 / steps as f64),
        })
        .collect()
}
