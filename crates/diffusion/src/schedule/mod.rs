//! Noise schedules: how much noise an image carries at time t.

mod config;
mod table;

pub use config::{BetaSchedule, ScheduleConfig, ScheduleError};

use crate::limits::{LOG_SNR, TIMESTEPS, within};
use config::{default_log_snr_max, default_log_snr_min};
use std::f64::consts::FRAC_PI_2;
use table::{beta_table, cumulative_alphas, rescale_to_zero_terminal_snr};

/// How noisy an image is: α = cos φ of it is signal, σ = sin φ is noise, so α² + σ² = 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NoiseLevel {
    /// φ in [0, π/2].
    pub angle: f64,
}

impl NoiseLevel {
    /// An image without noise.
    pub const CLEAN: Self = Self { angle: 0.0 };

    /// A quarter turn further: α becomes −σ and σ becomes α, so that diffusing with it gives the
    /// velocity v = α ε − σ x.
    pub fn turned(self) -> Self {
        Self {
            angle: self.angle + FRAC_PI_2,
        }
    }

    /// The level with a given log signal-to-noise ratio.
    pub fn from_log_snr(log_snr: f64) -> Self {
        Self {
            angle: (-log_snr / 2.0).exp().atan(),
        }
    }

    /// α, the share of signal.
    pub fn alpha(self) -> f64 {
        self.angle.cos()
    }

    /// σ, the share of noise.
    pub fn sigma(self) -> f64 {
        self.angle.sin()
    }

    /// λ = log(α² / σ²); +∞ without noise.
    pub fn log_snr(self) -> f64 {
        -2.0 * self.angle.tan().ln()
    }
}

/// A schedule ready to use. Time is always t in [0, 1].
///
/// A discrete table of T steps is read as t = (k + 1) / T for its timestep k, so that t = 1 is the
/// last timestep and t = 0 lies one step before the first. Between entries the angle is
/// interpolated.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    config: ScheduleConfig,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    /// φ(t) = a t + b.
    Cosine { a: f64, b: f64 },
    /// Angle at t = k / T for k = 0..=T.
    Discrete { angles: Vec<f64> },
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            config: ScheduleConfig::default(),
            kind: cosine(default_log_snr_min(), default_log_snr_max()),
        }
    }
}

impl Schedule {
    /// Builds the schedule and the table of a discrete one.
    ///
    /// # Errors
    /// When the ranges of the configuration make no sense.
    pub fn new(config: ScheduleConfig) -> Result<Self, ScheduleError> {
        let kind = match config {
            ScheduleConfig::Cosine {
                log_snr_min: min,
                log_snr_max: max,
            } => {
                let in_range = [min, max].iter().all(|end| end.abs() <= LOG_SNR);
                if !in_range || min >= max {
                    return Err(ScheduleError::LogSnrRange { min, max });
                }
                cosine(min, max)
            }
            ScheduleConfig::Discrete {
                betas,
                beta_start,
                beta_end,
                steps,
                zero_terminal_snr,
                clean_end,
            } => {
                let in_range = 0.0 < beta_start && beta_start <= beta_end && beta_end < 1.0;
                within("schedule.steps", steps, 2..=TIMESTEPS)?;
                if !in_range && betas != BetaSchedule::SquaredCosine {
                    return Err(ScheduleError::Betas {
                        steps,
                        start: beta_start,
                        end: beta_end,
                    });
                }
                let mut alphas = cumulative_alphas(&beta_table(betas, beta_start, beta_end, steps));
                if zero_terminal_snr {
                    rescale_to_zero_terminal_snr(&mut alphas);
                }
                let mut angles: Vec<f64> =
                    alphas.iter().map(|a| a.clamp(0.0, 1.0).acos()).collect();
                angles.insert(0, if clean_end { 0.0 } else { angles[0] });
                Kind::Discrete { angles }
            }
        };
        Ok(Self { config, kind })
    }

    /// What the schedule was built from.
    pub fn config(&self) -> &ScheduleConfig {
        &self.config
    }

    /// The noise level at time t in [0, 1].
    pub fn at(&self, t: f64) -> NoiseLevel {
        let angle = match &self.kind {
            Kind::Cosine { a, b } => a * t + b,
            Kind::Discrete { angles } => {
                let position =
                    (t * (angles.len() - 1) as f64).clamp(0.0, (angles.len() - 1) as f64);
                // Times are quotients of integers: what rounds to an entry is that entry.
                let nearest = position.round();
                if (position - nearest).abs() < 1e-9 {
                    angles[nearest as usize]
                } else {
                    let below = position.floor() as usize;
                    let share = position - below as f64;
                    angles[below] * (1.0 - share) + angles[below + 1] * share
                }
            }
        };
        NoiseLevel { angle }
    }

    /// The levels of several times.
    pub fn levels(&self, times: &[f64]) -> Vec<NoiseLevel> {
        times.iter().map(|&t| self.at(t)).collect()
    }

    /// The time at which the schedule has a given log-SNR: the inverse of [`Schedule::at`].
    pub fn time_of_log_snr(&self, log_snr: f64) -> f64 {
        let angle = NoiseLevel::from_log_snr(log_snr).angle;
        match &self.kind {
            Kind::Cosine { a, b } => ((angle - b) / a).clamp(0.0, 1.0),
            Kind::Discrete { angles } => {
                let above = angles.partition_point(|&a| a < angle);
                if above == 0 {
                    return 0.0;
                }
                if above == angles.len() {
                    return 1.0;
                }
                let (low, high) = (angles[above - 1], angles[above]);
                let position = (above - 1) as f64 + (angle - low) / (high - low);
                position / (angles.len() - 1) as f64
            }
        }
    }

    /// What a network is given as time: the timestep of a discrete table; 1000 φ / (π/2) of a
    /// continuous schedule, so that both lie in [0, 1000].
    pub fn network_time(&self, t: f64) -> f64 {
        match &self.kind {
            Kind::Cosine { .. } => 1000.0 * self.at(t).angle / FRAC_PI_2,
            Kind::Discrete { angles } => (t * (angles.len() - 1) as f64 - 1.0).max(0.0),
        }
    }

    /// Number of training timesteps of a discrete schedule; `None` for a continuous one.
    pub fn train_steps(&self) -> Option<usize> {
        match &self.kind {
            Kind::Cosine { .. } => None,
            Kind::Discrete { angles } => Some(angles.len() - 1),
        }
    }
}

fn cosine(log_snr_min: f64, log_snr_max: f64) -> Kind {
    let b = (-log_snr_max / 2.0).exp().atan();
    let a = (-log_snr_min / 2.0).exp().atan() - b;
    Kind::Cosine { a, b }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosine_reaches_its_log_snr_at_both_ends() {
        let schedule = Schedule::default();
        for (t, expected) in [(0.0, 20.0), (0.5, 0.0), (1.0, -20.0)] {
            assert!(
                (schedule.at(t).log_snr() - expected).abs() < 1e-6,
                "t = {t}"
            );
        }
        let Kind::Cosine { a, b } = schedule.kind else {
            panic!("the default is the cosine schedule")
        };
        assert!((b - 4.53999e-5).abs() < 1e-9 && (a - 1.5707055269).abs() < 1e-9);
    }

    #[test]
    fn stable_diffusion_table_has_its_known_terminal_signal() {
        let schedule = stable_diffusion(false);
        assert!((schedule.at(1.0).alpha() - 0.0682).abs() < 1e-3);
        assert_eq!(schedule.at(0.0).sigma(), 0.0);
        assert_eq!(schedule.network_time(1.0), 999.0);
        assert!(stable_diffusion(true).at(1.0).alpha().abs() < 1e-12);
    }

    #[test]
    fn time_of_log_snr_inverts_the_schedule() {
        for schedule in [Schedule::default(), stable_diffusion(false)] {
            for k in 1..=20 {
                let t = k as f64 / 20.0;
                let back = schedule.time_of_log_snr(schedule.at(t).log_snr());
                assert!((back - t).abs() < 1e-9, "{t} became {back}");
            }
        }
    }

    #[test]
    fn ranges_upside_down_are_refused() {
        let upside_down = ScheduleConfig::Cosine {
            log_snr_min: 1.0,
            log_snr_max: -1.0,
        };
        assert!(Schedule::new(upside_down).is_err());
    }

    fn stable_diffusion(zero_terminal_snr: bool) -> Schedule {
        Schedule::new(ScheduleConfig::Discrete {
            betas: BetaSchedule::ScaledLinear,
            beta_start: 0.00085,
            beta_end: 0.012,
            steps: 1000,
            zero_terminal_snr,
            clean_end: true,
        })
        .expect("a valid schedule")
    }

    #[test]
    fn tables_that_are_none_are_refused() {
        let of = |betas, beta_start, beta_end, steps| {
            Schedule::new(ScheduleConfig::Discrete {
                betas,
                beta_start,
                beta_end,
                steps,
                zero_terminal_snr: false,
                clean_end: false,
            })
        };
        for (start, end) in [
            (0.0, 0.5),
            (-0.1, 0.5),
            (0.5, 0.4),
            (0.5, 1.0),
            (f64::NAN, 0.5),
        ] {
            assert!(
                of(BetaSchedule::Linear, start, end, 10).is_err(),
                "{start} to {end}"
            );
            // Which has no use for them.
            assert!(of(BetaSchedule::SquaredCosine, start, end, 10).is_ok());
        }
        assert!(of(BetaSchedule::Linear, 0.5, 0.5, 2).is_ok());
        for steps in [0, 1, usize::MAX] {
            assert!(
                of(BetaSchedule::Linear, 0.1, 0.2, steps).is_err(),
                "{steps}"
            );
        }
    }

    #[test]
    fn log_snr_has_its_range() {
        let of = |log_snr_min, log_snr_max| {
            Schedule::new(ScheduleConfig::Cosine {
                log_snr_min,
                log_snr_max,
            })
        };
        assert!(of(-LOG_SNR, LOG_SNR).is_ok());
        for (min, max) in [(-2000.0, 1.0), (1.0, 2000.0), (1.0, 1.0), (f64::NAN, 1.0)] {
            assert!(of(min, max).is_err(), "{min} to {max}");
        }
    }

    /// What lies outside a schedule is at its end, and between two entries the angle is on the line.
    #[test]
    fn tables_end_at_their_ends() {
        let schedule = stable_diffusion(false);
        let (first, last) = (schedule.at(0.001), schedule.at(1.0));
        assert_eq!(schedule.time_of_log_snr(f64::INFINITY), 0.0);
        assert_eq!(schedule.time_of_log_snr(last.log_snr() - 1.0), 1.0);
        assert_eq!((schedule.at(-1.0).angle, schedule.at(2.0)), (0.0, last));
        assert!((schedule.at(0.00025).angle - first.angle / 4.0).abs() < 1e-12);
        let cosine = Schedule::default();
        assert_eq!(cosine.time_of_log_snr(1e3), 0.0);
        assert_eq!(cosine.time_of_log_snr(-1e3), 1.0);
    }

    /// The timestep of a table, and a thousandth of a quarter turn of the continuous schedule.
    #[test]
    fn networks_are_given_their_own_time() {
        let table = stable_diffusion(false);
        assert_eq!(table.train_steps(), Some(1000));
        for (t, step) in [(0.0, 0.0), (0.001, 0.0), (0.5, 499.0)] {
            assert!((table.network_time(t) - step).abs() < 1e-9);
        }
        let cosine = Schedule::default();
        assert_eq!(cosine.train_steps(), None);
        let angle = cosine.at(0.3).angle;
        let expected = 1000.0 * angle / FRAC_PI_2;
        assert!((cosine.network_time(0.3) - expected).abs() < 1e-9 && expected > 299.0);
    }
}
