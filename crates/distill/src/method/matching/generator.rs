//! The student's loss.

use super::FAKE_SCORE;
use crate::method::adversarial::{Realism, realism_cost};
use crate::method::{Batch, Cost, Draws, Loss, Objective, Simulation, Student, diffuse};
use fewstep_diffusion::Denoiser;

/// ½ ‖x − sg(x − g)‖² for the student's images x, with g = (x̂_fake(x_t) − x̂_real(x_t)) / mean |x −
/// x̂_real(x_t)| of each image (eq. 7 and 8 of 2311.18828, alg. 1 of 2405.14867).
pub struct DistributionMatching<T> {
    /// The real score: the frozen teacher, guided by w.
    pub teacher: T,
    /// The student's images.
    pub simulation: Simulation,
    /// Between which times t is drawn.
    pub times: [f64; 2],
    /// What the GAN term counts, with the heads of the fake score as its discriminator; 0 for none.
    pub gan: f64,
}

/// The least mean |x − x̂_real| that a gradient is divided by.
const LEAST: f64 = 1e-6;

impl<T: Denoiser> Objective for DistributionMatching<T> {
    fn loss(&self, student: Student<'_>, batch: &Batch, seed: u64) -> Loss {
        let draws = Draws::new(seed, batch);
        let schedule = self.teacher.schedule();
        let times = draws.times_within(self.times, schedule);
        let levels = schedule.levels(&times);
        let inputs = self.simulation.inputs(draws, batch);
        let x = self
            .simulation
            .images(student.online, draws, batch, &inputs);
        let still = x.clone().inner();
        let noise = draws.noise(&still);
        let x_t = diffuse(still.clone(), noise.clone(), &levels);
        let score = student.other(FAKE_SCORE);
        let fake = score.predict(x_t.clone(), &times, &inputs).x();
        let real = self.teacher.predict(x_t, &times, &inputs).x();
        let distance = (still.clone() - real.clone()).abs();
        let scale = distance.mean_dims(&[1, 2, 3]).clamp_min(LEAST);
        let gradient = (fake - real) / scale;
        let error = (x.clone() - (still - gradient)).square().flatten::<2>(1, 3);
        let matching = error.mean_dim(1).squeeze_dim(1) * 0.5;
        let per_sample = match self.gan > 0.0 {
            false => matching,
            true => {
                let term = Realism {
                    teacher: &self.teacher,
                    judge: score,
                };
                let term = term.loss((x, noise), &times, &inputs);
                matching + term * self.gan
            }
        };
        Loss { per_sample, times }
    }

    fn cost(&self) -> Cost {
        let term = match self.gan > 0.0 {
            true => realism_cost(&self.teacher, self.simulation.weights),
            false => Cost::default(),
        };
        Cost {
            frozen: self.simulation.calls() + 1 + self.teacher.network_calls() + term.frozen,
            trained: 1,
            largest_frozen: self.teacher.network_calls(),
            frozen_during_graph: true,
            judged: term.judged,
        }
    }
}
