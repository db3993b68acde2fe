//! The discriminator's loss.

use super::{DISCRIMINATES, Penalty};
use crate::method::{Batch, Cost, Draws, Loss, Objective, STUDENT, Simulation, Student, diffuse};
use burn::tensor::Tensor;
use burn::tensor::activation::log_sigmoid;
use fewstep_diffusion::random::Purpose;
use fewstep_diffusion::{Denoiser, Inputs};

/// log(1 + e^−D(x_t)) + log(1 + e^D(y_t)) + γ (D(x_t) − D(x_t + s n))² for images x of the data and y
/// of the student with the same class, w, noise level and noise: the mean over the heads. Without
/// the last term, the best D is log p(x_t) − log q(x_t), p being how the data is distributed and q
/// how the student's images are.
#[derive(Clone, Copy, Debug)]
pub struct Discrimination {
    /// Between which times t is drawn.
    pub times: [f64; 2],
    /// γ and s.
    pub penalty: Penalty,
}

impl Discrimination {
    /// Calls of the discriminator.
    pub(in crate::method) const CALLS: usize = 3;

    /// The loss of a discriminator on images of the data and on images of the student.
    pub(in crate::method) fn loss(
        &self,
        judge: &dyn Denoiser,
        [real, fake]: [Tensor<4>; 2],
        draws: Draws,
        inputs: &Inputs,
    ) -> Loss {
        let schedule = judge.schedule();
        let times = draws.times_within(self.times, schedule);
        let levels = schedule.levels(&times);
        let noise = draws.noise(&real);
        let [x_t, y_t] = [real, fake].map(|images| diffuse(images, noise.clone(), &levels));
        let ask = |images: Tensor<4>| -> Tensor<2> {
            let logits = judge.logits(images, &times, inputs);
            logits.expect(DISCRIMINATES)
        };
        let (of_real, of_fake) = (ask(x_t.clone()), ask(y_t));
        let mut loss = softplus(-of_real.clone()) + softplus(of_fake);
        let Penalty {
            weight,
            noise: small,
        } = self.penalty;
        if weight > 0.0 {
            let moved = x_t.clone() + draws.normal(Purpose::Perturbation, &x_t) * small;
            loss = loss + (of_real - ask(moved)).square() * weight;
        }
        Loss {
            per_sample: loss.mean_dim(1).squeeze_dim(1),
            times,
        }
    }
}

/// log(1 + e^x).
fn softplus(x: Tensor<2>) -> Tensor<2> {
    -log_sigmoid(-x)
}

/// The discriminator as a player.
pub struct Discriminating {
    /// The student's images.
    pub simulation: Simulation,
    /// What it learns.
    pub learnt: Discrimination,
}

impl Objective for Discriminating {
    fn loss(&self, judge: Student<'_>, batch: &Batch, seed: u64) -> Loss {
        let draws = Draws::new(seed, batch);
        let inputs = self.simulation.inputs(draws, batch);
        let student = judge.other(STUDENT);
        let fake = self.simulation.images(student, draws, batch, &inputs);
        let images = [batch.images.clone(), fake];
        self.learnt.loss(judge.online, images, draws, &inputs)
    }

    fn cost(&self) -> Cost {
        Cost {
            frozen: self.simulation.calls() + 1 + Discrimination::CALLS,
            largest_frozen: 1,
            ..Cost::default()
        }
    }
}
