//! The loss of conditional distillation.

use super::{ConsistencyTarget, OdeModel, OdeNoise};
use crate::method::{
    Batch, Boundary, Cost, Distance, Draws, GuidanceWeights, Loss, LossWeighting, Objective,
    Student, TimePairs, Times, diffuse,
};
use burn::tensor::Tensor;
use fewstep_diffusion::{CfgDenoiser, Denoiser, Inputs, NoiseLevel, Prediction, per_sample};

/// An [`OdeModel`] with the frozen model, where that is evaluated.
#[derive(Clone, Debug)]
pub enum OdeStep<T> {
    /// [`OdeModel::Online`].
    Online,
    /// [`OdeModel::Average`].
    Average,
    /// [`OdeModel::Base`].
    Base(T),
}

impl OdeModel {
    /// With the frozen model, which is dropped where nothing evaluates it.
    pub fn with<T>(self, base: T) -> OdeStep<T> {
        match self {
            OdeModel::Online => OdeStep::Online,
            OdeModel::Average => OdeStep::Average,
            OdeModel::Base => OdeStep::Base(base),
        }
    }
}

/// E d(ε̂_θ⁻(ẑ_s, s, c), ε̂_θ(z_t, t, c)) + d(x, x̂_θ(z_t, t, c)) (section 3 of 2310.01407).
pub struct Codi<T> {
    /// Which t and s.
    pub pairs: TimePairs,
    /// What is to be consistent.
    pub consistent: ConsistencyTarget,
    /// f for x̂ consistency.
    pub boundary: Boundary,
    /// Whose x̂ makes ẑ_s.
    pub ode_step: OdeStep<T>,
    /// The noise in ẑ_s.
    pub ode_noise: OdeNoise,
    /// d of the consistency term.
    pub distance: Distance,
    /// Weight of the consistency term; 0 removes it.
    pub consistency: f64,
    /// Its weight over noise levels.
    pub error_weight: LossWeighting,
    /// d of the guidance term.
    pub guidance_distance: Distance,
    /// Weight of the guidance term; 0 removes it.
    pub guidance: f64,
    /// Which w classifier-free guidance is applied with inside all networks; `None` for none.
    pub weights: Option<GuidanceWeights>,
}

impl<T> Codi<T> {
    /// The plain method: neighbouring times of a grid of so many intervals, noise that is to be
    /// consistent, squared distances, and both terms with weight 1.
    pub fn on_grid(intervals: usize, ode_step: OdeStep<T>) -> Self {
        Self {
            pairs: TimePairs {
                intervals,
                times: Times::Grid,
                shared: true,
            },
            consistent: ConsistencyTarget::Noise,
            boundary: Boundary::Plain,
            ode_step,
            ode_noise: OdeNoise::True,
            distance: Distance::L2,
            consistency: 1.0,
            error_weight: LossWeighting::Uniform,
            guidance_distance: Distance::L2,
            guidance: 1.0,
            weights: None,
        }
    }
}

impl<T: Denoiser> Codi<T> {
    /// A prediction, guided where the method says so.
    fn evaluate(
        &self,
        model: &dyn Denoiser,
        z: Tensor<4>,
        t: &[f64],
        inputs: &Inputs,
    ) -> Prediction {
        match self.weights {
            Some(_) => CfgDenoiser::new(model).predict(z, t, inputs),
            None => model.predict(z, t, inputs),
        }
    }

    /// ẑ_s, without graph.
    fn earlier(&self, step: Prediction, noise: Tensor<4>, levels: &[NoiseLevel]) -> Tensor<4> {
        match self.ode_noise {
            OdeNoise::True => diffuse(step.x().inner(), noise, levels),
            OdeNoise::Predicted => step.ddim(levels).inner(),
        }
    }

    /// The weighted consistency term of each sample.
    fn consistency_term(
        &self,
        online: (&Prediction, &[f64]),
        target: (&Prediction, &[f64]),
    ) -> Tensor<1> {
        let ((online, t), (target, s)) = (online, target);
        let (error, weights): (_, Vec<f64>) = match self.consistent {
            ConsistencyTarget::Noise => (
                self.distance.between(online.eps(), target.eps().inner()),
                std::iter::zip(online.levels(), s)
                    .map(|(&level, &s)| match s {
                        0.0 => 0.0,
                        _ => self.error_weight.on_eps(level),
                    })
                    .collect(),
            ),
            ConsistencyTarget::Image => (
                self.distance.between(
                    self.boundary.image(online, t),
                    self.boundary.image(target, s).inner(),
                ),
                online
                    .levels()
                    .iter()
                    .map(|&level| self.error_weight.on_x(level))
                    .collect(),
            ),
        };
        let weights = weights.into_iter().map(|weight| self.consistency * weight);
        error * per_sample(weights, &online.z().device()).flatten(0, 3)
    }
}

impl<T: Denoiser> Objective for Codi<T> {
    fn loss(&self, student: Student<'_>, batch: &Batch, seed: u64) -> Loss {
        let draws = Draws::new(seed, batch);
        let schedule = student.online.schedule();
        let (t, s) = self.pairs.draw(draws, schedule);
        let noise = draws.noise(&batch.images);
        let z_t = diffuse(batch.images.clone(), noise.clone(), &schedule.levels(&t));
        let mut inputs = batch.inputs.clone();
        inputs.w = self.weights.map(|weights| weights.draw(draws));

        let online = self.evaluate(student.online, z_t.clone(), &t, &inputs);
        let mut loss = self
            .guidance_distance
            .between(batch.images.clone(), online.x());
        loss = loss * self.guidance;
        if self.consistency > 0.0 {
            let step = match &self.ode_step {
                OdeStep::Online => online.clone(),
                OdeStep::Average => self.evaluate(student.target, z_t, &t, &inputs),
                OdeStep::Base(base) => self.evaluate(base, z_t, &t, &inputs),
            };
            let z_s = self.earlier(step, noise, &schedule.levels(&s));
            let target = self.evaluate(student.target, z_s, &s, &inputs);
            loss = loss + self.consistency_term((&online, &t), (&target, &s));
        }
        Loss {
            per_sample: loss,
            times: t,
        }
    }

    fn cost(&self) -> Cost {
        let branches = 1 + usize::from(self.weights.is_some());
        let steps = match self.ode_step {
            _ if self.consistency == 0.0 => 0,
            OdeStep::Online => 1,
            OdeStep::Average | OdeStep::Base(_) => 2,
        };
        Cost {
            frozen: branches * steps,
            trained: branches,
            largest_frozen: if steps > 0 { branches } else { 0 },
            // The target network is called while the student's graph is in memory.
            frozen_during_graph: true,
            ..Cost::default()
        }
    }
}
