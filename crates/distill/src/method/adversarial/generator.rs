//! The student's loss.

use super::{DISCRIMINATES, DISCRIMINATOR};
use crate::method::{
    Batch, Cost, Draws, GuidanceWeights, Loss, Objective, Simulation, Student, diffuse,
};
use burn::tensor::Tensor;
use fewstep_diffusion::{Denoiser, Inputs, NoiseLevel, per_sample};

/// What a discriminator and the teacher's guidance make of images.
pub(in crate::method) struct Realism<'a> {
    /// The frozen teacher, guided by w.
    pub(in crate::method) teacher: &'a dyn Denoiser,
    /// The discriminator.
    pub(in crate::method) judge: &'a dyn Denoiser,
}

impl Realism<'_> {
    /// −σ² D(x_t) − α² ⟨sg(x̂_w − x̂_c), x⟩ for images x and their noise. With the best D the gradient
    /// is σ² that of KL(q ‖ p_c^(1 + w) p_∅^−w) at the level t, since x̂_w − x̂_c = w (x̂_c − x̂_∅) and
    /// ∇ log p(c | x_t) = α (x̂_c − x̂_∅) / σ². The value is without the second term, whose gradient
    /// is all that counts.
    pub(in crate::method) fn loss(
        &self,
        (x, noise): (Tensor<4>, Tensor<4>),
        times: &[f64],
        inputs: &Inputs,
    ) -> Tensor<1> {
        let levels = self.judge.schedule().levels(times);
        let squared = |of: fn(&NoiseLevel) -> f64| -> Tensor<4> {
            per_sample(levels.iter().map(|level| of(level).powi(2)), &x.device())
        };
        let (alpha, sigma) = (squared(|l| l.alpha()), squared(|l| l.sigma()));
        let x_t = diffuse(x.clone(), noise, &levels);
        let logits = self.judge.logits(x_t.clone(), times, inputs);
        let realism: Tensor<2> = logits.expect(DISCRIMINATES).mean_dim(1);
        let loss = -realism * sigma.flatten::<2>(1, 3);
        let loss = match &inputs.w {
            None => loss,
            Some(_) => {
                let x_t = x_t.inner();
                let guided = self.teacher.predict(x_t.clone(), times, inputs).x();
                let plain = &inputs.clone().without_guidance();
                let plain = self.teacher.predict(x_t, times, plain).x();
                let pull = (guided - plain) * alpha;
                let moved = x.clone() - x.inner();
                loss - (pull * moved).flatten::<2>(1, 3).sum_dim(1)
            }
        };
        loss.squeeze_dim(1)
    }
}

/// What [`Realism`] costs.
pub(in crate::method) fn realism_cost(
    teacher: &dyn Denoiser,
    weights: Option<GuidanceWeights>,
) -> Cost {
    let guidance = usize::from(weights.is_some());
    Cost {
        // The conditional branch again.
        frozen: guidance * (1 + teacher.network_calls()),
        judged: 1,
        largest_frozen: 1 + guidance * (teacher.network_calls() - 1),
        ..Cost::default()
    }
}

/// The loss of a student that a discriminator is to take for the data, guided by w.
pub struct Adversarial<T> {
    /// The frozen teacher, guided by w.
    pub teacher: T,
    /// The student's images.
    pub simulation: Simulation,
    /// Between which times t is drawn.
    pub times: [f64; 2],
}

impl<T: Denoiser> Objective for Adversarial<T> {
    fn loss(&self, student: Student<'_>, batch: &Batch, seed: u64) -> Loss {
        let draws = Draws::new(seed, batch);
        let judge = student.other(DISCRIMINATOR);
        let times = draws.times_within(self.times, judge.schedule());
        let inputs = self.simulation.inputs(draws, batch);
        let x = self
            .simulation
            .images(student.online, draws, batch, &inputs);
        let noise = draws.noise(&x.clone().inner());
        let realism = Realism {
            teacher: &self.teacher,
            judge,
        };
        Loss {
            per_sample: realism.loss((x, noise), &times, &inputs),
            times,
        }
    }

    fn cost(&self) -> Cost {
        let of_realism = realism_cost(&self.teacher, self.simulation.weights);
        Cost {
            frozen: self.simulation.calls() + of_realism.frozen,
            trained: 1,
            frozen_during_graph: self.simulation.weights.is_some(),
            ..of_realism
        }
    }
}
