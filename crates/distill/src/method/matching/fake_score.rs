//! The fake score's loss.

use super::Simulation;
use crate::method::{
    Batch, Cost, Draws, Loss, LossWeighting, Objective, STUDENT, Student, diffuse, velocity_loss,
};

/// E ω(λ_t) ‖x − x̂(x_t, w, c)‖² for images x that the student generates: ordinary denoising of what
/// is its data at this moment (eq. 6 of 2311.18828).
pub struct FakeScore {
    /// The student's images.
    pub simulation: Simulation,
    /// ω.
    pub weighting: LossWeighting,
}

impl Objective for FakeScore {
    fn loss(&self, score: Student<'_>, batch: &Batch, seed: u64) -> Loss {
        let draws = Draws::new(seed, batch);
        let schedule = score.online.schedule();
        let times = draws.times(schedule);
        let levels = schedule.levels(&times);
        let inputs = self.simulation.inputs(draws, batch);
        let student = score.other(STUDENT);
        let x = self.simulation.images(student, draws, batch, &inputs);
        let noise = draws.noise(&x);
        // v = α ε − σ x, which is diffusing (ε, x) at the quarter turn φ + π/2.
        let turned: Vec<_> = levels.iter().map(|level| level.turned()).collect();
        let target = diffuse(x.clone(), noise.clone(), &turned);
        let x_t = diffuse(x, noise, &levels);
        let predicted = score.online.predict(x_t, &times, &inputs).v();
        Loss {
            per_sample: velocity_loss(predicted, target, self.weighting, &levels),
            times,
        }
    }

    fn cost(&self) -> Cost {
        Cost {
            frozen: self.simulation.calls() + 1,
            trained: 1,
            largest_frozen: 1,
            frozen_during_graph: false,
        }
    }
}
