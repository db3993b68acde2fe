//! The loss of guidance distillation.

use super::NoisyImages;
use crate::method::{
    Batch, Cost, Draws, GuidanceWeights, Loss, LossWeighting, Objective, Student, velocity_loss,
};
use fewstep_diffusion::Denoiser;

/// E ω(λ_t) ‖x̂_η(z_t, w, c) − x̂_w(z_t, c)‖² (eq. 3 and alg. 1 of 2210.03142).
pub struct GuidanceDistillation<T> {
    /// The guided teacher x̂_w (a [`fewstep_diffusion::CfgDenoiser`], or a
    /// [`fewstep_diffusion::InstructDenoiser`]): all branches in one call, no gradient.
    pub teacher: T,
    /// Which w.
    pub weights: GuidanceWeights,
    /// ω.
    pub weighting: LossWeighting,
    /// Where z_t comes from.
    pub images: NoisyImages,
}

impl<T: Denoiser> Objective for GuidanceDistillation<T> {
    fn loss(&self, student: Student<'_>, batch: &Batch, seed: u64) -> Loss {
        let draws = Draws::new(seed, batch);
        let times = draws.times(self.teacher.schedule());
        let levels = self.teacher.schedule().levels(&times);
        let inputs = batch.inputs.clone().with_w(self.weights.draw(draws));
        let z_t = self
            .images
            .draw(&self.teacher, draws, batch, &inputs, &times);
        let target = self.teacher.predict(z_t.clone(), &times, &inputs).v();
        let predicted = student.online.predict(z_t, &times, &inputs).v();
        Loss {
            per_sample: velocity_loss(predicted, target, self.weighting, &levels),
            times,
        }
    }

    fn cost(&self) -> Cost {
        Cost {
            frozen: (1 + self.images.predictions()) * self.teacher.network_calls(),
            trained: 1,
            largest_frozen: self.teacher.network_calls(),
            ..Cost::default()
        }
    }
}
