//! The loss of consistency distillation.

use super::Solver;
use crate::method::{
    Batch, Boundary, Cost, Distance, Draws, GuidanceWeights, Loss, LossWeighting, Objective,
    Student, TimePairs, diffuse,
};
use burn::tensor::Tensor;
use fewstep_diffusion::{Denoiser, Inputs, NoiseLevel, Prediction, PredictionKind, per_sample};

/// E ω(λ_t) d(f_θ(z_t, t, w, c), f_θ⁻(ẑ_s, s, w, c)) (alg. 2 of 2303.01469, alg. 1 of 2310.04378).
pub struct Consistency<T> {
    /// The teacher, guided where it has two branches; no gradient.
    pub teacher: T,
    /// Which t and s.
    pub pairs: TimePairs,
    /// How the teacher steps.
    pub solver: Solver,
    /// f.
    pub boundary: Boundary,
    /// d.
    pub distance: Distance,
    /// ω.
    pub error_weight: LossWeighting,
    /// Which w; `None` for teachers without guidance.
    pub weights: Option<GuidanceWeights>,
}

impl<T: Denoiser> Consistency<T> {
    /// The teacher's step from z_t at times t to times s. A step to s = 0 ends without noise.
    fn step(&self, z_t: Tensor<4>, t: &[f64], s: &[f64], inputs: &Inputs) -> Tensor<4> {
        let schedule = self.teacher.schedule();
        let to: Vec<NoiseLevel> = s
            .iter()
            .map(|&s| match s {
                0.0 => NoiseLevel::CLEAN,
                _ => schedule.at(s),
            })
            .collect();
        let first = self.teacher.predict(z_t.clone(), t, inputs);
        let reached = first.ddim(&to);
        match self.solver {
            Solver::Ddim => reached,
            Solver::Heun => {
                let second = self.teacher.predict(reached, s, inputs);
                let mean = average_velocity(&first, &second, &to);
                let levels = first.levels().to_vec();
                Prediction::new(PredictionKind::V, mean, z_t, levels).ddim(&to)
            }
        }
    }
}

/// The mean of both ends' ODE slopes, each turned back by half the step: on a circle of angle δ the
/// velocity itself turns, v̂(φ + δ) = cos δ v̂ − sin δ z for a constant x̂ and ε̂.
fn average_velocity(first: &Prediction, second: &Prediction, to: &[NoiseLevel]) -> Tensor<4> {
    let device = first.z().device();
    let turn = |f: fn(f64) -> f64| {
        let deltas = first
            .levels()
            .iter()
            .zip(to)
            .map(|(t, s)| f(s.angle - t.angle));
        per_sample(deltas, &device)
    };
    let back = second.v() * turn(f64::cos) + second.z() * turn(f64::sin);
    (first.v() + back) * 0.5
}

impl<T: Denoiser> Objective for Consistency<T> {
    fn loss(&self, student: Student<'_>, batch: &Batch, seed: u64) -> Loss {
        let draws = Draws::new(seed, batch);
        let schedule = student.online.schedule();
        let (t, s) = self.pairs.draw(draws, schedule);
        let levels = schedule.levels(&t);
        let noise = draws.noise(&batch.images);
        let z_t = diffuse(batch.images.clone(), noise, &levels);
        let mut inputs = batch.inputs.clone();
        inputs.w = self.weights.map(|weights| weights.draw(draws));

        let z_s = self.step(z_t.clone(), &t, &s, &inputs).inner();
        let target = student.target.predict(z_s, &s, &inputs);
        let target = self.boundary.image(&target, &s).inner();
        let online = student.online.predict(z_t, &t, &inputs);
        let error = self
            .distance
            .between(self.boundary.image(&online, &t), target);
        let weights = levels.iter().map(|&level| self.error_weight.on_x(level));
        let weights = per_sample(weights, &batch.images.device());
        Loss {
            per_sample: error * weights.flatten(0, 3),
            times: t,
        }
    }

    fn cost(&self) -> Cost {
        let steps = match self.solver {
            Solver::Ddim => 1,
            Solver::Heun => 2,
        };
        Cost {
            frozen: 1 + steps * self.teacher.network_calls(),
            trained: 1,
            largest_frozen: self.teacher.network_calls(),
            ..Cost::default()
        }
    }
}
