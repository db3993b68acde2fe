//! Pairs of times t > s a fixed distance apart.

use super::Draws;
use crate::error::RecipeError;
use fewstep_diffusion::Schedule;
use fewstep_diffusion::limits::{TIMESTEPS, count};
use fewstep_diffusion::random::Purpose;
use serde::{Deserialize, Serialize};

/// Which t are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Times {
    /// The grid t = i / D, i = 1..=D.
    #[default]
    Grid,
    /// Any t in [0, 1), or any timestep of a discrete schedule.
    Any,
}

/// How t and the earlier s = max(t − 1 / D, 0) are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimePairs {
    /// D.
    pub intervals: usize,
    /// Which t.
    pub times: Times,
    /// One t for all samples of an update.
    pub shared: bool,
}

impl TimePairs {
    /// t and s of each sample.
    pub(super) fn draw(self, draws: Draws, schedule: &Schedule) -> (Vec<f64>, Vec<f64>) {
        let purpose = Purpose::TrainingTime;
        let uniform: Vec<f64> = match self.shared {
            true => draws.uniform_of_update(purpose).collect(),
            false => draws.uniform(purpose).collect(),
        };
        uniform.into_iter().map(|u| self.pair(u, schedule)).unzip()
    }

    /// (t, s) for a uniform number. On the grid both are quotients of integers.
    fn pair(self, u: f64, schedule: &Schedule) -> (f64, f64) {
        let up_to = |count: usize| ((u * count as f64) as usize + 1).min(count);
        let at = |index: usize, count: usize| index as f64 / count as f64;
        let t = match (self.times, schedule.train_steps()) {
            (Times::Grid, _) => {
                let index = up_to(self.intervals);
                return (at(index, self.intervals), at(index - 1, self.intervals));
            }
            (Times::Any, Some(steps)) => at(up_to(steps), steps),
            (Times::Any, None) => u,
        };
        (t, (t - 1.0 / self.intervals as f64).max(0.0))
    }
}

pub(super) fn check_intervals(intervals: usize) -> Result<(), RecipeError> {
    Ok(count("intervals", intervals, TIMESTEPS)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fewstep_diffusion::{BetaSchedule, ScheduleConfig};

    fn pairs(times: Times, shared: bool) -> TimePairs {
        TimePairs {
            intervals: 4,
            times,
            shared,
        }
    }

    fn draws(clock: u64, update: u64) -> Draws {
        Draws {
            seed: 3,
            clock,
            update,
            batch: 32,
        }
    }

    #[test]
    fn the_grid_has_exact_times() {
        let schedule = Schedule::default();
        let pair = |u| pairs(Times::Grid, false).pair(u, &schedule);
        assert_eq!(pair(0.0), (0.25, 0.0));
        assert_eq!(pair(0.6), (0.75, 0.5));
        assert_eq!(pair(0.9999), (1.0, 0.75));
        let (t, s) = pairs(Times::Any, false).pair(0.1, &schedule);
        assert_eq!((t, s), (0.1, 0.0));
        assert_eq!(pairs(Times::Any, false).pair(0.75, &schedule), (0.75, 0.5));
    }

    #[test]
    fn any_timestep_of_a_table_is_a_time() {
        let table = Schedule::new(ScheduleConfig::Discrete {
            betas: BetaSchedule::Linear,
            beta_start: 1e-4,
            beta_end: 0.02,
            steps: 10,
            zero_terminal_snr: false,
            clean_end: true,
        })
        .expect("valid");
        let pair = |u| pairs(Times::Any, false).pair(u, &table);
        for (u, (t, s)) in [
            (0.0, (0.1, 0.0)),
            (0.55, (0.6, 0.35)),
            (0.9999, (1.0, 0.75)),
        ] {
            let ours = pair(u);
            assert_eq!(ours.0, t);
            assert!((ours.1 - s).abs() < 1e-12);
        }
    }

    #[test]
    fn there_is_an_interval_at_least() {
        assert!(check_intervals(1).is_ok());
        assert!(check_intervals(0).is_err() && check_intervals(usize::MAX).is_err());
    }

    /// All samples of an update share t, whatever its micro-batches are; other updates have
    /// another.
    #[test]
    fn a_shared_time_belongs_to_the_update() {
        let schedule = Schedule::default();
        let draw = |clock, update| {
            pairs(Times::Any, true)
                .draw(draws(clock, update), &schedule)
                .0
        };
        let first = draw(64, 64);
        assert!(first.iter().all(|&t| t == first[0]));
        assert_eq!(draw(96, 64), first);
        assert_ne!(draw(128, 128), first);
        let own = pairs(Times::Any, false).draw(draws(64, 64), &schedule).0;
        assert_ne!(own[0], own[1]);
    }
}
