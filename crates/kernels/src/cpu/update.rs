//! What moves parameters, in one pass over memory. Every operation rounds as the framework's does, in
//! its order, so that results have its bits.

use crate::options::{AdamStep, Decay};
use rayon::prelude::*;

/// Numbers of a task.
const LENGTH: usize = 1 << 16;

/// The numbers of an update as the framework's optimisers combine them.
#[derive(Clone, Copy)]
struct Numbers {
    beta: [f32; 2],
    rest: [f32; 2],
    correction: Correction,
    lr: f32,
    coupled: f32,
    kept: f32,
}

/// How the framework corrects the moments for having begun at zero.
#[derive(Clone, Copy)]
enum Correction {
    /// Adam: both at once, by a factor of the first and a summand to the root of the second.
    Together { factor: f32, epsilon: f32 },
    /// AdamW: each divided by its own.
    Each { by: [f32; 2], epsilon: f32 },
}

impl Numbers {
    fn new(step: AdamStep) -> Self {
        let root = step.correction[1].sqrt();
        let (coupled, decoupled, correction) = match step.decay {
            Decay::Coupled(decay) => {
                let correction = Correction::Together {
                    factor: root / step.correction[0],
                    epsilon: step.epsilon * root,
                };
                (decay, 0.0, correction)
            }
            Decay::Decoupled(decay) => {
                let correction = Correction::Each {
                    by: step.correction,
                    epsilon: step.epsilon,
                };
                (0.0, decay, correction)
            }
        };
        Self {
            beta: step.beta,
            rest: step.beta.map(|beta| 1.0 - beta),
            correction,
            lr: step.lr,
            coupled,
            kept: (1.0 - f64::from(step.lr) * f64::from(decoupled)) as f32,
        }
    }

    /// Parameter and moments after the update, from parameter, gradient and moments.
    #[inline(always)]
    fn step(self, [parameter, gradient, moment_1, moment_2]: [f32; 4]) -> [f32; 3] {
        let gradient = match self.coupled == 0.0 {
            true => gradient,
            false => parameter * self.coupled + gradient,
        };
        let moment_1 = moment_1 * self.beta[0] + gradient * self.rest[0];
        let moment_2 = moment_2 * self.beta[1] + gradient * gradient * self.rest[1];
        let change = match self.correction {
            Correction::Together { factor, epsilon } => {
                moment_1 * factor / (moment_2.sqrt() + epsilon)
            }
            Correction::Each { by, epsilon } => {
                moment_1 / by[0] / ((moment_2 / by[1]).sqrt() + epsilon)
            }
        };
        let parameter = parameter * self.kept - change * self.lr;
        [parameter, moment_1, moment_2]
    }
}

/// Parameter and moments after an update, from parameter, gradient and moments.
pub(crate) fn adam(tensors: [&[f32]; 4], step: AdamStep) -> [Vec<f32>; 3] {
    let numbers = Numbers::new(step);
    let mut results = [(); 3].map(|()| vec![0.0; tensors[0].len()]);
    let [parameter, moment_1, moment_2] = &mut results;
    let parts = parameter.par_chunks_mut(LENGTH);
    let moments = moment_1
        .par_chunks_mut(LENGTH)
        .zip(moment_2.par_chunks_mut(LENGTH));
    parts
        .zip(moments)
        .enumerate()
        .for_each(|(number, (to, (to_1, to_2)))| {
            let range = number * LENGTH..number * LENGTH + to.len();
            let [parameter, gradient, moment_1, moment_2] = tensors.map(|x| &x[range.clone()]);
            let moments = moment_1.iter().zip(moment_2);
            let before = parameter.iter().zip(gradient).zip(moments);
            let after = to.iter_mut().zip(to_1.iter_mut().zip(to_2));
            for (((&p, &g), (&m1, &m2)), (to, (to_1, to_2))) in before.zip(after) {
                [*to, *to_1, *to_2] = numbers.step([p, g, m1, m2]);
            }
        });
    results
}

/// kept a + (1 − kept) b.
pub(crate) fn mix(a: &[f32], b: &[f32], kept: f64) -> Vec<f32> {
    let [kept, rest] = [kept, 1.0 - kept].map(|share| share as f32);
    let mut mixed = vec![0.0; a.len()];
    let parts = a.par_chunks(LENGTH).zip(b.par_chunks(LENGTH));
    let parts = mixed.par_chunks_mut(LENGTH).zip(parts);
    parts.for_each(|(mixed, (a, b))| {
        for (mixed, (a, b)) in mixed.iter_mut().zip(a.iter().zip(b)) {
            *mixed = a * kept + b * rest;
        }
    });
    mixed
}
