//! The student's loss.

use super::{FAKE_SCORE, Simulation};
use crate::method::{Batch, Cost, Draws, Loss, Objective, Student, diffuse};
use fewstep_diffusion::random::Purpose;
use fewstep_diffusion::{Denoiser, Schedule};

/// ½ ‖x − sg(x − g)‖² for the student's images x, with g = (x̂_fake(x_t) − x̂_real(x_t)) / mean |x −
/// x̂_real(x_t)| of each image (eq. 7 and 8 of 2311.18828, alg. 1 of 2405.14867).
pub struct DistributionMatching<T> {
    /// The real score: the frozen teacher, guided by w.
    pub teacher: T,
    /// The student's images.
    pub simulation: Simulation,
    /// Between which times t is drawn.
    pub times: [f64; 2],
}

impl<T> DistributionMatching<T> {
    /// t of each sample: any in the range, or a timestep of a discrete schedule in it.
    pub(super) fn draw_times(&self, draws: Draws, schedule: &Schedule) -> Vec<f64> {
        let [min, max] = self.times;
        let uniform = draws.uniform(Purpose::TrainingTime);
        match schedule.train_steps() {
            None => uniform.map(|u| min + (max - min) * u).collect(),
            Some(steps) => {
                let first = ((min * steps as f64).ceil() as usize).clamp(1, steps);
                let last = ((max * steps as f64).floor() as usize).clamp(first, steps);
                let count = last - first + 1;
                let step = |u: f64| first + ((u * count as f64) as usize).min(count - 1);
                uniform.map(|u| step(u) as f64 / steps as f64).collect()
            }
        }
    }
}

/// The least mean |x − x̂_real| that a gradient is divided by.
const LEAST: f64 = 1e-6;

impl<T: Denoiser> Objective for DistributionMatching<T> {
    fn loss(&self, student: Student<'_>, batch: &Batch, seed: u64) -> Loss {
        let draws = Draws::new(seed, batch);
        let schedule = self.teacher.schedule();
        let times = self.draw_times(draws, schedule);
        let levels = schedule.levels(&times);
        let inputs = self.simulation.inputs(draws, batch);
        let x = self
            .simulation
            .images(student.online, draws, batch, &inputs);
        let still = x.clone().inner();
        let x_t = diffuse(still.clone(), draws.noise(&still), &levels);
        let fake = student.other(FAKE_SCORE);
        let fake = fake.predict(x_t.clone(), &times, &inputs).x();
        let real = self.teacher.predict(x_t, &times, &inputs).x();
        let distance = (still.clone() - real.clone()).abs();
        let scale = distance.mean_dims(&[1, 2, 3]).clamp_min(LEAST);
        let gradient = (fake - real) / scale;
        let error = (x - (still - gradient)).square().flatten::<2>(1, 3);
        Loss {
            per_sample: error.mean_dim(1).squeeze_dim(1) * 0.5,
            times,
        }
    }

    fn cost(&self) -> Cost {
        Cost {
            frozen: self.simulation.calls() + 1 + self.teacher.network_calls(),
            trained: 1,
            largest_frozen: self.teacher.network_calls(),
            frozen_during_graph: true,
        }
    }
}
