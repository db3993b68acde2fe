//! Errors that count alike at every guidance weight.

use super::{Batch, Cost, Draws, GuidanceWeights, Loss, Objective, Student};
use fewstep_diffusion::per_sample;

/// An objective whose samples count by 1 / (1 + w)², with a mean of 1 over the range of w.
///
/// The guided target is v_c + w (v_c − v_∅): errors grow with w, their squares with its square, and
/// what is learnt for small w drowns in the errors of large w.
pub struct Balanced {
    /// What is weighted. It draws w as [`GuidanceWeights::draw`] does.
    pub objective: Box<dyn Objective>,
    /// Which w.
    pub weights: GuidanceWeights,
}

impl Objective for Balanced {
    fn loss(&self, student: Student<'_>, batch: &Batch, seed: u64) -> Loss {
        let loss = self.objective.loss(student, batch, seed);
        let drawn = self.weights.draw(Draws::new(seed, batch));
        let factors = drawn.into_iter().map(|w| self.weights.balance(w));
        let factors = per_sample(factors, &loss.per_sample.device());
        Loss {
            per_sample: loss.per_sample * factors.reshape([batch.len()]),
            ..loss
        }
    }

    fn cost(&self) -> Cost {
        self.objective.cost()
    }
}

/// The objective, weighted over w if `balance`.
pub(super) fn balanced(
    objective: Box<dyn Objective>,
    weights: Option<GuidanceWeights>,
    balance: bool,
) -> Box<dyn Objective> {
    match weights {
        Some(weights) if balance => Box::new(Balanced { objective, weights }),
        _ => objective,
    }
}
