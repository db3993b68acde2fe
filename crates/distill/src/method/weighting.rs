//! Loss weights over noise levels.

use super::MethodError;
use crate::error::RecipeError;
use fewstep_diffusion::limits::{FACTOR, above_zero, within};
use fewstep_diffusion::{NoiseLevel, PredictionKind, Schedule, ScheduleConfig};
use serde::{Deserialize, Serialize};

/// The weight of a squared error at a noise level.
///
/// All but [`Uniform`](Self::Uniform) are a weight ω(λ) on the error of x̂ (section 4 of
/// 2202.00512). The errors of v̂ and ε̂ are the same error on other scales, so that ω on x̂ is σ² ω
/// on v̂ and ω / SNR on ε̂. The weights of a loss on v stay bounded at every level.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum LossWeighting {
    /// 1 everywhere, on whatever the loss compares.
    Uniform,
    /// ω = e^λ: the error of ε̂.
    Snr,
    /// ω = max(e^λ, 1): the larger of the errors of x̂ and ε̂. What the papers' pixel models use.
    TruncatedSnr,
    /// ω = 1 + e^λ, which is the plain error of v̂.
    #[serde(alias = "v-mse")]
    SnrPlusOne,
    /// ω = min(e^λ, γ) (2303.09556).
    MinSnr(f64),
}

/// The largest weight that an error of what the network itself gives may have: above it, a few
/// samples are all that an update hears.
const LARGEST: f64 = 1e3;

impl LossWeighting {
    /// The weight of a loss on v for a network that predicts `kind`: the chosen one, or else the
    /// first of truncated SNR and the plain error of what the network gives (min-SNR for x̂) that
    /// stays bounded on the network's output.
    ///
    /// # Errors
    /// When the schedule is not valid.
    pub(super) fn choose(
        chosen: Option<Self>,
        kind: PredictionKind,
        schedule: &ScheduleConfig,
    ) -> Result<Self, MethodError> {
        let schedule = valid(schedule)?;
        Ok(match (chosen, kind) {
            (Some(weighting), _) => weighting,
            (None, _) if Self::TruncatedSnr.largest(kind, &schedule) <= LARGEST => {
                Self::TruncatedSnr
            }
            (None, PredictionKind::X) => Self::MinSnr(5.0),
            (None, PredictionKind::Eps | PredictionKind::V) => Self::Snr,
        })
    }

    /// Checks that the weight of a loss on v stays bounded on the output of a network that predicts
    /// `kind`.
    ///
    /// # Errors
    /// When it does not, or the schedule is not valid.
    pub(super) fn check_bounded_for(
        self,
        kind: PredictionKind,
        schedule: &ScheduleConfig,
    ) -> Result<(), MethodError> {
        let largest = self.largest(kind, &valid(schedule)?);
        let (what, instead) = match kind {
            _ if largest <= LARGEST => return Ok(()),
            PredictionKind::X => ("the image", "{ min-snr = 5.0 }"),
            PredictionKind::Eps => ("the noise", "\"snr\" or { min-snr = 5.0 }"),
            PredictionKind::V => ("v", "{ min-snr = 5.0 }"),
        };
        Err(MethodError::Teacher(format!(
            "the network predicts {what}, and `weighting` gives its errors weights up to {largest:.0e} on this schedule: remove `weighting`, or take {instead}"
        )))
    }

    /// The largest weight of a squared error of the network's own output: v = α ε − σ x, so that an
    /// error of ε̂ is one of v̂ by 1/α, and an error of x̂ by 1/σ.
    fn largest(self, kind: PredictionKind, schedule: &Schedule) -> f64 {
        const TIMES: u32 = 1000;
        let weights = (0..=TIMES).map(|i| {
            let level = schedule.at(f64::from(i) / f64::from(TIMES));
            let share = match kind {
                PredictionKind::V => 1.0,
                PredictionKind::Eps => level.alpha(),
                PredictionKind::X => level.sigma(),
            };
            self.on_v(level) / share.powi(2)
        });
        // 0 of 0 is no weight.
        weights.fold(0.0, f64::max)
    }

    /// The weight of a squared error of v̂.
    pub(super) fn on_v(self, level: NoiseLevel) -> f64 {
        let signal = level.alpha().powi(2);
        let noise = level.sigma().powi(2);
        match self {
            LossWeighting::Snr => signal,
            LossWeighting::TruncatedSnr => signal.max(noise),
            LossWeighting::Uniform | LossWeighting::SnrPlusOne => 1.0,
            LossWeighting::MinSnr(gamma) => signal.min(gamma * noise),
        }
    }

    /// The weight of a squared error of x̂.
    pub(super) fn on_x(self, level: NoiseLevel) -> f64 {
        let snr = snr(level);
        match self {
            LossWeighting::Uniform => 1.0,
            LossWeighting::Snr => snr,
            LossWeighting::TruncatedSnr => snr.max(1.0),
            LossWeighting::SnrPlusOne => 1.0 + snr,
            LossWeighting::MinSnr(gamma) => snr.min(gamma),
        }
    }

    /// The weight of a squared error of ε̂.
    pub(super) fn on_eps(self, level: NoiseLevel) -> f64 {
        let snr = snr(level);
        match self {
            LossWeighting::Uniform | LossWeighting::Snr => 1.0,
            LossWeighting::TruncatedSnr => (1.0 / snr).max(1.0),
            LossWeighting::SnrPlusOne => 1.0 + 1.0 / snr,
            LossWeighting::MinSnr(gamma) => (gamma / snr).min(1.0),
        }
    }

    /// Checks the weight of a loss on v.
    pub(crate) fn check(self, key: &str) -> Result<(), RecipeError> {
        match self {
            LossWeighting::MinSnr(gamma) => {
                let name = format!("{key}.min-snr");
                Ok(within(&name, gamma, above_zero(FACTOR))?)
            }
            _ => Ok(()),
        }
    }

    /// Checks the weight of a loss on x̂ or ε̂, which must stay bounded at every level.
    pub(crate) fn check_bounded(self, key: &str) -> Result<(), RecipeError> {
        match self {
            LossWeighting::Uniform | LossWeighting::MinSnr(_) => self.check(key),
            LossWeighting::Snr | LossWeighting::TruncatedSnr | LossWeighting::SnrPlusOne => {
                Err(RecipeError::new(
                    key,
                    format!(
                        "`{key}` must be \"uniform\" or {{ min-snr = 5.0 }}: the others have no bound without noise or without signal"
                    ),
                ))
            }
        }
    }
}

fn valid(schedule: &ScheduleConfig) -> Result<Schedule, MethodError> {
    Schedule::new(schedule.clone()).map_err(|e| MethodError::Teacher(e.to_string()))
}

fn snr(level: NoiseLevel) -> f64 {
    level.log_snr().exp()
}

#[cfg(test)]
mod tests {
    use super::*;
    use fewstep_diffusion::BetaSchedule;

    const ANGLES: [f64; 4] = [0.05, 0.4, 0.9, 1.4];

    #[test]
    fn weights_on_v_are_the_papers_weights_on_x() {
        for angle in ANGLES {
            let level = NoiseLevel { angle };
            let snr = level.log_snr().exp();
            let variance = level.sigma().powi(2);
            for (weighting, paper) in [
                (LossWeighting::Snr, snr),
                (LossWeighting::TruncatedSnr, snr.max(1.0)),
                (LossWeighting::SnrPlusOne, 1.0 + snr),
                (LossWeighting::MinSnr(5.0), snr.min(5.0)),
            ] {
                let ours = weighting.on_v(level);
                assert!(
                    (ours - paper * variance).abs() < 1e-12,
                    "{weighting:?} at {angle}"
                );
                assert!((weighting.on_x(level) - paper).abs() < 1e-12 * paper);
            }
        }
    }

    /// The weights on x̂ and ε̂ weigh the same error: SNR (x − x̂)² = (ε − ε̂)².
    #[test]
    fn weights_on_images_and_noise_agree() {
        for angle in ANGLES {
            let level = NoiseLevel { angle };
            for weighting in [
                LossWeighting::Snr,
                LossWeighting::TruncatedSnr,
                LossWeighting::SnrPlusOne,
                LossWeighting::MinSnr(5.0),
            ] {
                let [x, eps] = [weighting.on_x(level), weighting.on_eps(level)];
                assert!((x - eps * snr(level)).abs() < 1e-9 * x.max(1.0), "{angle}");
            }
            let [x, eps] = [
                LossWeighting::MinSnr(5.0).on_x(level),
                LossWeighting::MinSnr(5.0).on_eps(level),
            ];
            assert!(x <= 5.0 && eps <= 1.0);
            assert_eq!(LossWeighting::Uniform.on_x(level), 1.0);
            assert_eq!(LossWeighting::Uniform.on_eps(level), 1.0);
        }
    }

    #[test]
    fn recipes_name_every_weight() {
        #[derive(Deserialize)]
        struct Named {
            weight: LossWeighting,
        }
        for (text, expected) in [
            ("\"uniform\"", LossWeighting::Uniform),
            ("\"snr\"", LossWeighting::Snr),
            ("\"truncated-snr\"", LossWeighting::TruncatedSnr),
            ("\"v-mse\"", LossWeighting::SnrPlusOne),
            ("{ min-snr = 5.0 }", LossWeighting::MinSnr(5.0)),
        ] {
            let named: Named = toml::from_str(&format!("weight = {text}")).expect("valid");
            assert_eq!(named.weight, expected);
        }
    }

    fn stable_diffusion() -> ScheduleConfig {
        ScheduleConfig::Discrete {
            betas: BetaSchedule::ScaledLinear,
            beta_start: 0.00085,
            beta_end: 0.012,
            steps: 1000,
            zero_terminal_snr: false,
            clean_end: false,
        }
    }

    /// In closed form: ω of v̂ by the square of what an error of the output is in v̂.
    #[test]
    fn the_largest_weights_of_outputs_are_known() {
        let cosine = Schedule::default();
        let latent = Schedule::new(stable_diffusion()).expect("valid");
        let end = latent.at(1.0);
        let start = latent.at(0.0);
        let largest = |weighting: LossWeighting, kind, schedule| weighting.largest(kind, schedule);
        for (ours, expected) in [
            (
                largest(LossWeighting::TruncatedSnr, PredictionKind::V, &cosine),
                1.0,
            ),
            (
                largest(LossWeighting::MinSnr(5.0), PredictionKind::X, &cosine),
                5.0,
            ),
            (
                largest(LossWeighting::Snr, PredictionKind::Eps, &cosine),
                1.0,
            ),
            (
                largest(LossWeighting::SnrPlusOne, PredictionKind::Eps, &latent),
                1.0 / end.alpha().powi(2),
            ),
            (
                largest(LossWeighting::SnrPlusOne, PredictionKind::X, &latent),
                1.0 / start.sigma().powi(2),
            ),
        ] {
            assert!(
                (ours - expected).abs() < 1e-6 * expected,
                "{ours}, {expected}"
            );
        }
    }

    /// min(α², γ σ²) is γ / (1 + γ) where both are the same, in the middle of a schedule.
    #[test]
    fn the_largest_weight_may_be_in_the_middle() {
        let latent = Schedule::new(stable_diffusion()).expect("valid");
        for schedule in [Schedule::default(), latent] {
            let largest = LossWeighting::MinSnr(5.0).largest(PredictionKind::V, &schedule);
            assert!((0.83..=5.0 / 6.0).contains(&largest), "{largest}");
        }
    }

    #[test]
    fn a_weight_is_chosen_that_stays_bounded() {
        let cosine = ScheduleConfig::default();
        let upside_down = ScheduleConfig::Cosine {
            log_snr_min: 1.0,
            log_snr_max: -1.0,
        };
        for (kind, schedule, chosen) in [
            (PredictionKind::V, &cosine, LossWeighting::TruncatedSnr),
            (PredictionKind::X, &cosine, LossWeighting::MinSnr(5.0)),
            (PredictionKind::Eps, &cosine, LossWeighting::Snr),
            (
                PredictionKind::Eps,
                &stable_diffusion(),
                LossWeighting::TruncatedSnr,
            ),
        ] {
            let ours = LossWeighting::choose(None, kind, schedule).expect("valid");
            assert_eq!(ours, chosen, "{kind:?}");
            assert!(ours.check_bounded_for(kind, schedule).is_ok());
            let asked = Some(LossWeighting::Uniform);
            let kept = LossWeighting::choose(asked, kind, schedule).expect("valid");
            assert_eq!(kept, LossWeighting::Uniform);
            assert!(LossWeighting::choose(None, kind, &upside_down).is_err());
        }
        for (weighting, kind, said) in [
            (LossWeighting::TruncatedSnr, PredictionKind::X, "the image"),
            (
                LossWeighting::TruncatedSnr,
                PredictionKind::Eps,
                "the noise",
            ),
        ] {
            let refused = weighting.check_bounded_for(kind, &cosine);
            let message = refused.expect_err("without bound").to_string();
            assert!(message.contains(said), "{message}");
        }
    }

    #[test]
    fn weights_out_of_range_or_without_bound_are_refused() {
        assert!(LossWeighting::MinSnr(0.0).check("weighting").is_err());
        assert!(
            LossWeighting::MinSnr(0.0)
                .check_bounded("weighting")
                .is_err()
        );
        for weighting in [LossWeighting::Uniform, LossWeighting::MinSnr(5.0)] {
            assert!(weighting.check("weighting").is_ok());
            assert!(weighting.check_bounded("weighting").is_ok());
        }
        assert!(LossWeighting::Snr.check("weighting").is_ok());
        let refused = LossWeighting::Snr.check_bounded("error_weight");
        assert_eq!(refused.expect_err("no bound").key, "error_weight");
    }
}
