//! Time grids: at which times a sampler calls the network.

mod spacing;

pub use spacing::{Spacing, UnknownSpacing};

use crate::Schedule;
use crate::limits::STEPS;

/// Why a grid cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GridError {
    /// No steps, or far too many.
    #[error("a sampler needs at least 1 step and takes at most {STEPS}, and {0} were requested")]
    Steps(usize),
    /// More steps than the model has timesteps.
    #[error(
        "{steps} steps were requested, but the model was trained on {trained} timesteps: use at most {most}"
    )]
    TooManySteps {
        /// Requested steps.
        steps: usize,
        /// Timesteps of the schedule.
        trained: usize,
        /// Steps that the spacing can have.
        most: usize,
    },
    /// An offset that moves the first step past the schedule's timesteps.
    #[error(
        "{steps} steps with an offset of {offset} would start above the model's {trained} timesteps: use an offset of 0 or 1"
    )]
    OffsetTooLarge {
        /// Requested steps.
        steps: usize,
        /// The offset of the spacing.
        offset: usize,
        /// Timesteps of the schedule.
        trained: usize,
    },
}

/// N + 1 strictly falling times in [0, 1]; the network is called at the first N, the last is where
/// it ends.
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
    /// When `steps` is 0, above [`STEPS`] or above the number of timesteps of a discrete schedule, or when the
    /// spacing's offset does not fit.
    pub fn new(schedule: &Schedule, spacing: Spacing, steps: usize) -> Result<Self, GridError> {
        if !(1..=STEPS).contains(&steps) {
            return Err(GridError::Steps(steps));
        }
        let trained = schedule.train_steps();
        if let Some(trained) = trained {
            let most = trained.saturating_sub(spacing.unused_timesteps());
            if steps > most {
                return Err(GridError::TooManySteps {
                    steps,
                    trained,
                    most,
                });
            }
        }
        let total = trained.unwrap_or(CONTINUOUS_STEPS.max(steps + 2));
        let mut times: Vec<f64> = match spacing {
            Spacing::Uniform => (0..steps)
                .map(|i| (steps - i) as f64 / steps as f64)
                .collect(),
            Spacing::LogSnr => log_snr_times(schedule, steps, total),
            _ => timesteps(spacing, steps, total)?
                .into_iter()
                .map(|k| (k + 1) as f64 / total as f64)
                .collect(),
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

    /// A uniform grid on [0, `from`]: the remaining steps for an image that was noised to time
    /// `from`.
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
fn timesteps(spacing: Spacing, steps: usize, total: usize) -> Result<Vec<usize>, GridError> {
    Ok(match spacing {
        Spacing::Leading { offset, drop_last } => {
            let dropped = usize::from(drop_last);
            let stride = total / (steps + dropped);
            let timestep = |i: usize| ((i + dropped) * stride).saturating_add(offset);
            if timestep(steps - 1) >= total {
                return Err(GridError::OffsetTooLarge {
                    steps,
                    offset,
                    trained: total,
                });
            }
            (0..steps).rev().map(timestep).collect()
        }
        Spacing::Trailing => (0..steps)
            .map(|i| rounded(total * (steps - i), steps) - 1)
            .collect(),
        Spacing::Linspace { drop_last: false } if steps == 1 => vec![total - 1],
        Spacing::Linspace { drop_last: false } => (0..steps)
            .rev()
            .map(|i| rounded(i * (total - 1), steps - 1))
            .collect(),
        Spacing::Linspace { drop_last: true } => (1..=steps)
            .rev()
            .map(|i| rounded(i * (total - 1), steps))
            .collect(),
        Spacing::Uniform | Spacing::LogSnr => unreachable!("not defined on integer timesteps"),
    })
}

/// The integer nearest to a / b, the even one of two equally near, as numpy rounds.
fn rounded(a: usize, b: usize) -> usize {
    let (below, rest) = (a / b, a % b);
    let up = 2 * rest > b || (2 * rest == b && below % 2 == 1);
    below + usize::from(up)
}

/// The lowest log-SNR in a log-SNR grid: below it an image is only noise, and a schedule with zero
/// terminal SNR reaches −∞.
const LOWEST_LOG_SNR: f64 = -20.0;

fn log_snr_times(schedule: &Schedule, steps: usize, total: usize) -> Vec<f64> {
    let start = schedule.at(1.0).log_snr().max(LOWEST_LOG_SNR);
    let end = schedule.at(1.0 / total as f64).log_snr();
    (0..steps)
        .map(|i| match i {
            0 => 1.0,
            _ => schedule.time_of_log_snr(start + (end - start) * i as f64 / steps as f64),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BetaSchedule, ScheduleConfig};
    use proptest::prelude::*;

    fn discrete(
        betas: BetaSchedule,
        steps: usize,
        zero_terminal_snr: bool,
        clean_end: bool,
    ) -> Schedule {
        Schedule::new(ScheduleConfig::Discrete {
            betas,
            beta_start: 0.00085,
            beta_end: 0.012,
            steps,
            zero_terminal_snr,
            clean_end,
        })
        .expect("a valid schedule")
    }

    fn schedules() -> impl Strategy<Value = Schedule> {
        let betas = prop_oneof![
            Just(BetaSchedule::Linear),
            Just(BetaSchedule::ScaledLinear),
            Just(BetaSchedule::SquaredCosine)
        ];
        let table = (betas, 2..1001_usize, any::<bool>(), any::<bool>())
            .prop_map(|(betas, steps, zero, clean)| discrete(betas, steps, zero, clean));
        prop_oneof![Just(Schedule::default()), table]
    }

    fn assert_falls(grid: &TimeGrid, steps: usize) {
        assert_eq!(grid.steps(), steps);
        assert_eq!(grid.pairs().count(), steps);
        assert_eq!(grid.times()[steps], 0.0);
        assert!(grid.pairs().all(|(t, s)| t > s), "{:?}", grid.times());
    }

    proptest! {
        #[test]
        fn every_grid_has_its_steps_and_falls_to_zero(schedule in schedules(), share in 0.0..1.0f64) {
            let most = schedule.train_steps().unwrap_or(2000);
            for (_, spacing) in Spacing::NAMED {
                let most = most - spacing.unused_timesteps();
                prop_assume!(most > 0);
                let steps = 1 + (share * (most - 1) as f64).round() as usize;
                let grid = TimeGrid::new(&schedule, spacing, steps).expect("a valid grid");
                assert_falls(&grid, steps);
                prop_assert!(spacing.starts_below() || grid.times()[0] == 1.0);
            }
        }

        #[test]
        fn a_grid_from_the_middle_falls_from_there(from in 0.001..1.0f64, steps in 1..200_usize) {
            let grid = TimeGrid::uniform_from(from, steps);
            assert_falls(&grid, steps);
            prop_assert_eq!(grid.times()[0], from);
        }

        /// Two ways to the papers' grid.
        #[test]
        fn uniform_is_uniform(schedule in schedules(), steps in 1..3_usize) {
            let grid = TimeGrid::new(&schedule, Spacing::Uniform, steps).expect("a valid grid");
            prop_assert_eq!(grid, TimeGrid::uniform(steps));
        }
    }

    #[test]
    fn log_snr_steps_are_even() {
        let schedule = discrete(BetaSchedule::ScaledLinear, 1000, false, true);
        let grid = TimeGrid::new(&schedule, Spacing::LogSnr, 10).expect("a valid grid");
        let log_snr: Vec<f64> = grid.times()[..10]
            .iter()
            .map(|&t| schedule.at(t).log_snr())
            .collect();
        for pair in log_snr.windows(2) {
            let step = log_snr[1] - log_snr[0];
            assert!((pair[1] - pair[0] - step).abs() < 1e-6, "{log_snr:?}");
        }
    }

    #[test]
    fn halves_go_to_the_even_neighbour() {
        assert_eq!([1, 3, 5, 7].map(|a| rounded(a, 2)), [0, 2, 2, 4]);
        assert_eq!([4, 5, 6].map(|a| rounded(a, 3)), [1, 2, 2]);
    }

    #[test]
    fn impossible_step_counts_are_refused() {
        let schedule = discrete(BetaSchedule::Linear, 10, false, true);
        let of = |steps| TimeGrid::new(&schedule, Spacing::Trailing, steps);
        assert_eq!(of(0), Err(GridError::Steps(0)));
        assert_eq!(of(usize::MAX), Err(GridError::Steps(usize::MAX)));
        let error = GridError::TooManySteps {
            steps: 11,
            trained: 10,
            most: 10,
        };
        assert_eq!(of(11), Err(error));
        assert!(of(10).is_ok());
    }

    #[test]
    fn an_offset_past_the_schedule_is_refused() {
        let schedule = discrete(BetaSchedule::Linear, 10, false, true);
        let of = |offset| {
            let spacing = Spacing::Leading {
                offset,
                drop_last: false,
            };
            TimeGrid::new(&schedule, spacing, 5)
        };
        assert!(of(1).is_ok());
        let error = GridError::OffsetTooLarge {
            steps: 5,
            offset: 2,
            trained: 10,
        };
        assert_eq!(of(2), Err(error));
    }
}
