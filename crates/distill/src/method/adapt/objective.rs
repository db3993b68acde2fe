//! The loss of adapting a student.

use crate::method::{
    Batch, Cost, Draws, GuidanceWeights, Loss, LossWeighting, Objective, Student, diffuse,
    velocity_loss,
};
use burn::tensor::Tensor;
use fewstep_diffusion::{Denoiser, Inputs, NoiseLevel, per_sample};

/// E ω(λ_t) ‖x̃ − x̂_η(z_t, w, c)‖² over the N times of the student's grid, where x̃ is the
/// prediction whose one step lands where K steps of the teacher do (alg. 2 of 2202.00512, which has
/// K = 2).
pub struct Adapt<T> {
    /// The frozen teacher, guided where it has two branches.
    pub teacher: T,
    /// Number of steps N of the student.
    pub steps: usize,
    /// Steps K of the teacher for one of the student's.
    pub substeps: usize,
    /// Which w; none for a teacher without guidance.
    pub weights: Option<GuidanceWeights>,
    /// ω.
    pub weighting: LossWeighting,
}

impl<T: Denoiser> Adapt<T> {
    /// ṽ = (z_{t''} − cos δ z_t) / sin δ with δ = φ_{t''} − φ_t: the velocity whose one step from
    /// `z_t`, at point i of each sample's N, lands where the teacher's K steps do.
    fn target(&self, z_t: Tensor<4>, points: &[usize], inputs: &Inputs) -> Tensor<4> {
        let schedule = self.teacher.schedule();
        let grid = self.steps * self.substeps;
        let time = |point: usize, done: usize| (point * self.substeps - done) as f64 / grid as f64;
        let level = |t: f64| match t {
            0.0 => NoiseLevel::CLEAN,
            _ => schedule.at(t),
        };
        let mut z = z_t.clone();
        for done in 0..self.substeps {
            let times: Vec<f64> = points.iter().map(|&i| time(i, done)).collect();
            let ends = points.iter().map(|&i| level(time(i, done + 1)));
            let ends: Vec<NoiseLevel> = ends.collect();
            z = self.teacher.predict(z, &times, inputs).ddim(&ends);
        }
        let of_angle = |f: fn(f64) -> f64| {
            let angle = |t| level(t).angle;
            let deltas = points
                .iter()
                .map(|&i| f(angle(time(i, self.substeps)) - angle(time(i, 0))));
            per_sample(deltas, &z_t.device())
        };
        (z - z_t.clone() * of_angle(f64::cos)) / of_angle(f64::sin)
    }
}

impl<T: Denoiser> Objective for Adapt<T> {
    fn loss(&self, student: Student<'_>, batch: &Batch, seed: u64) -> Loss {
        let draws = Draws::new(seed, batch);
        let points: Vec<usize> = draws.index(self.steps).map(|i| i + 1).collect();
        let times: Vec<f64> = points
            .iter()
            .map(|&i| i as f64 / self.steps as f64)
            .collect();
        let levels = self.teacher.schedule().levels(&times);
        let z_t = diffuse(batch.images.clone(), draws.noise(&batch.images), &levels);
        let mut inputs = batch.inputs.clone();
        inputs.w = self.weights.map(|weights| weights.draw(draws));
        let target = self.target(z_t.clone(), &points, &inputs);
        let predicted = student.online.predict(z_t, &times, &inputs).v();
        Loss {
            per_sample: velocity_loss(predicted, target, self.weighting, &levels),
            times,
        }
    }

    fn cost(&self) -> Cost {
        Cost {
            frozen: self.substeps * self.teacher.network_calls(),
            trained: 1,
            largest_frozen: self.teacher.network_calls(),
            frozen_during_graph: false,
            judged: 0,
        }
    }
}
