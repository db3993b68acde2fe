//! Settings of progressive distillation.

use crate::error::RecipeError;
use crate::optim::OptimConfig;
use fewstep_diffusion::limits::{STEPS, UPDATES, count, within};
use serde::{Deserialize, Serialize};

/// For which sampler a halving prepares the student.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Halving {
    /// The deterministic N-step sampler: t = i/N goes to (i − 1)/N.
    #[default]
    Deterministic,
    /// The stochastic N-step sampler: t = i/N goes to (i − 2)/N, twice as far.
    Stochastic,
    /// Reversed DDIM: t = i/N goes up to (i + 1)/N.
    Encoder,
}

impl Halving {
    /// The name of the phase whose student has so many steps, and of its model's folder.
    pub(crate) fn phase(self, steps: usize) -> String {
        match self {
            Self::Deterministic => format!("steps-{steps}"),
            Self::Stochastic => format!("stochastic-steps-{steps}"),
            Self::Encoder => format!("encoder-steps-{steps}"),
        }
    }
}

/// Stage two: halve the steps again and again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProgressiveConfig {
    /// The sampler to prepare for.
    #[serde(default)]
    pub halving: Halving,
    /// Steps of the first teacher; the first student has half as many.
    pub start_steps: usize,
    /// Steps of the last student: `start_steps` halved a whole number of times.
    pub end_steps: usize,
    /// Updates of each halving: one number for all, or one per halving.
    pub updates: Updates,
    /// How the parameters move.
    pub optim: OptimConfig,
}

/// Updates of each halving.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a number of updates, or a list with one for each halving"
)]
pub enum Updates {
    /// The same for all.
    Each(u64),
    /// One number per halving, in order.
    List(Vec<u64>),
}

impl ProgressiveConfig {
    /// Steps and updates of each student, in order.
    ///
    /// # Errors
    /// When the steps cannot be halved from start to end, or the updates do not fit their number.
    pub(crate) fn rounds(&self) -> Result<Vec<(usize, u64)>, RecipeError> {
        let (start, end) = (self.start_steps, self.end_steps);
        count("progressive.start_steps", start, STEPS)?;
        count("progressive.end_steps", end, STEPS)?;
        let ratio = start / end;
        if ratio < 2 || !ratio.is_power_of_two() || start != end * ratio {
            return Err(RecipeError::new(
                "progressive.start_steps",
                format!(
                    "`progressive.start_steps` = {start} cannot be halved to `end_steps` = {end}: start must be end times a power of two, such as {} and {}",
                    end * 16,
                    end
                ),
            ));
        }
        let steps: Vec<usize> = std::iter::successors(Some(start / 2), |s| Some(s / 2))
            .take(ratio.ilog2() as usize)
            .collect();
        let wrong = |message: String| Err(RecipeError::new("progressive.updates", message));
        let updates = match &self.updates {
            Updates::Each(updates) => vec![*updates; steps.len()],
            Updates::List(list) if list.len() == steps.len() => list.clone(),
            Updates::List(list) => {
                return wrong(format!(
                    "`progressive.updates` has {} entries, but going from {start} to {end} steps takes {} halvings",
                    list.len(),
                    steps.len()
                ));
            }
        };
        for of_halving in &updates {
            within("progressive.updates", *of_halving, 1..=UPDATES)?;
        }
        Ok(steps.into_iter().zip(updates).collect())
    }

    /// The halvings down to a student of so many steps, and those from it on; none where no halving
    /// ends there, or none begins.
    pub fn split_at(&self, steps: usize) -> Option<[Self; 2]> {
        let rounds = self.rounds().ok()?;
        let before = 1 + rounds.iter().position(|(of, _)| *of == steps)?;
        let part = |start_steps, end_steps, rounds: &[(usize, u64)]| Self {
            start_steps,
            end_steps,
            updates: Updates::List(rounds.iter().map(|(_, updates)| *updates).collect()),
            ..self.clone()
        };
        let (first, second) = rounds.split_at(before);
        (!second.is_empty()).then(|| {
            [
                part(self.start_steps, steps, first),
                part(steps, self.end_steps, second),
            ]
        })
    }

    pub(crate) fn validate(&self) -> Result<(), RecipeError> {
        self.optim
            .validate()
            .map_err(|e| e.within("progressive.optim"))?;
        self.rounds().map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progressive(start_steps: usize, end_steps: usize, updates: Updates) -> ProgressiveConfig {
        ProgressiveConfig {
            halving: Halving::Deterministic,
            start_steps,
            end_steps,
            updates,
            optim: toml::from_str("batch = 8\nlr = 1e-4").expect("valid"),
        }
    }

    #[test]
    fn steps_are_halved_to_the_end() {
        let rounds = progressive(16, 1, Updates::Each(5)).rounds();
        assert_eq!(rounds, Ok(vec![(8, 5), (4, 5), (2, 5), (1, 5)]));
        let rounds = progressive(24, 6, Updates::List(vec![1, 2])).rounds();
        assert_eq!(rounds, Ok(vec![(12, 1), (6, 2)]));
    }

    #[test]
    fn steps_that_cannot_be_halved_are_refused() {
        for (start, end) in [(12, 8), (8, 8), (10, 3), (9, 4), (12, 4), (4, 8), (8, 0)] {
            let error = progressive(start, end, Updates::Each(1)).rounds();
            assert!(error.is_err(), "{start} to {end}");
        }
        assert!(progressive(8, 2, Updates::List(vec![1])).rounds().is_err());
    }

    /// Both parts together have the halvings of the whole, each with its updates.
    #[test]
    fn halvings_are_split_at_a_student() {
        for updates in [Updates::Each(3), Updates::List(vec![4, 3, 2, 1])] {
            let whole = progressive(16, 1, updates);
            let all = whole.rounds().expect("valid");
            for (number, steps) in [(1, 8), (2, 4), (3, 2)] {
                let [first, second] = whole.split_at(steps).expect("two parts");
                assert_eq!((first.end_steps, second.start_steps), (steps, steps));
                let [first, second] = [first, second].map(|part| part.rounds().expect("valid"));
                assert_eq!(first, all[..number]);
                assert_eq!(second, all[number..]);
            }
            for steps in [16, 3, 1, 0] {
                assert_eq!(whole.split_at(steps), None);
            }
        }
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        let of = |updates| progressive(8, 1, updates).validate().map_err(|e| e.key);
        assert_eq!(of(Updates::Each(1)), Ok(()));
        assert_eq!(of(Updates::Each(0)), Err("progressive.updates".into()));
        let mut config = progressive(8, 1, Updates::Each(1));
        config.optim.clip = 0.0;
        let refused = config.validate().expect_err("refused");
        assert_eq!(refused.key, "progressive.optim.clip");
    }
}
