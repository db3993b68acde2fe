//! Stage one: one student for the guided teacher.

use super::{
    Batch, Cost, Draws, GuidanceWeights, Loss, Objective, Student, Weighting, diffuse,
    velocity_loss,
};
use fewstep_diffusion::Denoiser;

/// Folds the two branches of classifier-free guidance into one student that takes w as an input.
///
/// # Source
/// Eq. 3 and Alg. 1 of 2210.03142.
///
/// # Objective
/// E ω(λ_t) ‖x̂_η(z_t, w, c) − x̂_w(z_t, c)‖² with w ~ U\[w_min, w_max\] and t ~ U\[0, 1\], one draw per sample. For a
/// teacher on a discrete schedule t is uniform over its timesteps.
///
/// # Departures from the paper
/// None known; the paper does not print the weight, we take truncated SNR as its predecessor did.
pub struct Guided<T> {
    /// The guided teacher x̂_w (a [`fewstep_diffusion::Guided`] model): both branches in one call, no gradient.
    pub teacher: T,
    /// Which w.
    pub weights: GuidanceWeights,
    /// ω.
    pub weighting: Weighting,
}

impl<T: Denoiser> Objective for Guided<T> {
    fn loss(&self, student: Student<'_>, batch: &Batch, seed: u64) -> Loss {
        let draws = Draws::new(seed, batch);
        let times = draws.times(self.teacher.schedule());
        let levels = self.teacher.schedule().levels(&times);
        let z_t = diffuse(batch.images.clone(), draws.noise(&batch.images), &levels);
        let inputs = batch.inputs.clone().with_w(self.weights.draw(draws));
        let target = self.teacher.predict(z_t.clone(), &times, &inputs).v();
        let predicted = student.online.predict(z_t, &times, &inputs).v();
        Loss {
            per_sample: velocity_loss(predicted, target, self.weighting, &levels),
            times,
        }
    }

    fn cost(&self) -> Cost {
        Cost {
            frozen: self.teacher.network_calls(),
            trained: 1,
        }
    }
}
