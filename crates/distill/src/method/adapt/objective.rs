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

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;
    use fewstep_diffusion::analytic::{Gaussian, GaussianDenoiser};
    use fewstep_diffusion::{Schedule, ScheduleConfig};

    /// The teacher's steps in numbers, the last of them to an image without noise, also where the
    /// schedule has noise left at t = 0.
    #[test]
    fn the_last_step_ends_clean_where_the_schedule_does_not() {
        let schedule = Schedule::new(ScheduleConfig::Cosine {
            log_snr_min: -20.0,
            log_snr_max: 2.0,
        });
        let schedule = schedule.expect("a range");
        assert!(schedule.at(0.0).sigma() > 0.3);
        let gaussian = Gaussian { mu: 0.4, s: 0.3 };
        let adapt = Adapt {
            teacher: GaussianDenoiser::unconditional(schedule.clone(), gaussian),
            steps: 2,
            substeps: 2,
            weights: None,
            weighting: LossWeighting::SnrPlusOne,
        };
        let starts = [0.8, -0.3];
        let z = per_sample(starts, &Device::flex());
        let angle = |quarter: usize| match quarter {
            0 => 0.0,
            _ => schedule.at(quarter as f64 / 4.0).angle,
        };
        let turn = |z: f64, v: f64, from: usize, to: usize| {
            let (sin, cos) = (angle(to) - angle(from)).sin_cos();
            cos * z + sin * v
        };
        // From t = 1 and from t = 1/2, and from there to the image.
        for points in [[1, 2], [2, 1]] {
            let v = adapt.target(z.clone(), &points, &Inputs::default());
            let v: Vec<f32> = v.into_data().try_to_vec().expect("f32 data");
            for ((start, v), point) in starts.into_iter().zip(v).zip(points) {
                let (first, last) = (2 * point, 2 * point - 2);
                let reached = (last..first).rev().fold(start, |z, to| {
                    let level = NoiseLevel {
                        angle: angle(to + 1),
                    };
                    let (a, b) = gaussian.velocity(level);
                    turn(z, a * z + b, to + 1, to)
                });
                let landed = turn(start, f64::from(v), first, last);
                assert!((landed - reached).abs() < 1e-5, "{landed} for {reached}");
            }
        }
    }
}
