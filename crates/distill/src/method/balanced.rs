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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::method::start::testing::{Lines, RANGE, SEED, batch, model, values};
    use burn::tensor::Tensor;

    /// 3 for every sample.
    struct Three;

    impl Objective for Three {
        fn loss(&self, _: Student<'_>, batch: &Batch, _: u64) -> Loss {
            Loss {
                per_sample: Tensor::ones([batch.len()], &batch.images.device()) * 3.0,
                times: vec![0.5; batch.len()],
            }
        }
        fn cost(&self) -> Cost {
            Cost::default()
        }
    }

    /// Each sample by its own w, and only where it is asked for.
    #[test]
    fn losses_are_balanced_where_it_is_asked_for() {
        let (student, batch) = (model(Lines::slope(1.0)), batch(7, 4, [1, 1, 1]));
        let of = |weights, balance| {
            let student = Student {
                online: &student,
                target: &student,
                others: &[],
            };
            let objective = balanced(Box::new(Three), weights, balance);
            values(objective.loss(student, &batch, SEED).per_sample)
        };
        let drawn = RANGE.draw(Draws::new(SEED, &batch));
        let balanced = of(Some(RANGE), true);
        for (ours, w) in balanced.iter().zip(drawn) {
            assert!((ours - 3.0 * RANGE.balance(w)).abs() < 1e-5);
        }
        assert_eq!(of(Some(RANGE), false), [3.0; 4]);
        assert_eq!(of(None, true), [3.0; 4]);
    }
}
