//! The fake score's loss.

use crate::method::adversarial::Discrimination;
use crate::method::{
    Batch, Cost, Draws, Loss, LossWeighting, Objective, STUDENT, Simulation, Student, diffuse,
    velocity_loss,
};

/// E ω(λ_t) ‖x − x̂(x_t, w, c)‖² for images x that the student generates: ordinary denoising of what
/// is its data at this moment (eq. 6 of 2311.18828). With the GAN term, what its heads learn is added.
pub struct FakeScore {
    /// The student's images.
    pub simulation: Simulation,
    /// ω.
    pub weighting: LossWeighting,
    /// What its heads learn, and what that counts.
    pub gan: Option<(f64, Discrimination)>,
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
        let x_t = diffuse(x.clone(), noise, &levels);
        let predicted = score.online.predict(x_t, &times, &inputs).v();
        let denoising = velocity_loss(predicted, target, self.weighting, &levels);
        Loss {
            per_sample: match &self.gan {
                None => denoising,
                Some((weight, heads)) => {
                    let images = [batch.images.clone(), x];
                    denoising
                        + heads.loss(score.online, images, draws, &inputs).per_sample * *weight
                }
            },
            times,
        }
    }

    fn cost(&self) -> Cost {
        Cost {
            frozen: self.simulation.calls() + 1,
            // The heads' three passes are through the encoder only. That they keep as much as one
            // through the whole network is measured, not counted.
            trained: 1 + usize::from(self.gan.is_some()),
            largest_frozen: 1,
            ..Cost::default()
        }
    }
}
