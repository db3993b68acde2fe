//! Conditional diffusion distillation: condition and few steps learnt at once.

use super::{
    Batch, Boundary, Cost, Distance, Draws, ErrorWeight, GuidanceWeights, Loss, Objective, Student,
    TimePairs, diffuse,
};
use burn::tensor::Tensor;
use fewstep_diffusion::{CfgDenoiser, Denoiser, Inputs, NoiseLevel, Prediction, per_sample};
use serde::{Deserialize, Serialize};

/// What must not change along a trajectory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Consistent {
    /// ε̂: the paper.
    #[default]
    Noise,
    /// x̂: the public code.
    #[serde(alias = "picture")]
    Image,
}

/// Whose x̂ the earlier state is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OdeModel {
    /// The model in training as it is now: the paper. Costs no call of its own.
    #[default]
    Online,
    /// Its moving average.
    Average,
    /// The frozen model before: the public code.
    Base,
}

/// An [`OdeModel`] with the frozen model, where that is asked.
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
    /// With the frozen model, which is let go where nobody asks it.
    pub fn with<T>(self, base: T) -> OdeStep<T> {
        match self {
            OdeModel::Online => OdeStep::Online,
            OdeModel::Average => OdeStep::Average,
            OdeModel::Base => OdeStep::Base(base),
        }
    }
}

/// The noise in the earlier state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OdeNoise {
    /// The ε that made z_t: the paper's text.
    #[default]
    True,
    /// ε̂, which makes a DDIM step: the paper's appendix.
    Predicted,
}

/// Turns a prior into a conditional model of few steps in a single stage.
///
/// # Source
/// Section 3 of 2310.01407.
///
/// # Objective
/// E d(ε̂_θ⁻(ẑ_s, s, c), ε̂_θ(z_t, t, c)) + d(x, x̂_θ(z_t, t, c)) with ẑ_s = α_s x̂_θ(z_t, t, c) + σ_s ε, where neither
/// ẑ_s nor θ⁻, the average of θ, carries a gradient.
///
/// # Departures from the paper
/// Its algorithm prints the target network at t; by its text it is s. At s = 0 there is no noise to be consistent
/// with, so that samples with s = 0 have no consistency term in ε. The paper's choices are the defaults of the
/// enums; the others are those of its appendix and of the public code, without its bugs: the model of the ODE step
/// moves with training, no boundary condition is put on ε̂, and guidance is (1 + w) conditional − w unconditional.
pub struct Codi<T> {
    /// Which t and s.
    pub pairs: TimePairs,
    /// What is to be consistent.
    pub consistent: Consistent,
    /// f for x̂ consistency.
    pub boundary: Boundary,
    /// Whose x̂ makes ẑ_s.
    pub ode_step: OdeStep<T>,
    /// The noise in ẑ_s.
    pub ode_noise: OdeNoise,
    /// d of the consistency term.
    pub distance: Distance,
    /// Weight of the consistency term; 0 leaves it away.
    pub consistency: f64,
    /// Its weight over noise levels.
    pub error_weight: ErrorWeight,
    /// d of the guidance term.
    pub guidance_distance: Distance,
    /// Weight of the guidance term; 0 leaves it away.
    pub guidance: f64,
    /// Which w classifier-free guidance is applied with inside all networks; `None` for none.
    pub weights: Option<GuidanceWeights>,
}

impl<T: Denoiser> Codi<T> {
    /// A prediction, guided where the method says so.
    fn ask(&self, model: &dyn Denoiser, z: Tensor<4>, t: &[f64], inputs: &Inputs) -> Prediction {
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
            Consistent::Noise => (
                self.distance.between(online.eps(), target.eps().inner()),
                std::iter::zip(online.levels(), s)
                    .map(|(&level, &s)| match s {
                        0.0 => 0.0,
                        _ => self.error_weight.of_noise(level),
                    })
                    .collect(),
            ),
            Consistent::Image => (
                self.distance.between(
                    self.boundary.image(online, t),
                    self.boundary.image(target, s).inner(),
                ),
                online
                    .levels()
                    .iter()
                    .map(|&level| self.error_weight.of_image(level))
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

        let online = self.ask(student.online, z_t.clone(), &t, &inputs);
        let mut loss = self
            .guidance_distance
            .between(batch.images.clone(), online.x());
        loss = loss * self.guidance;
        if self.consistency > 0.0 {
            let step = match &self.ode_step {
                OdeStep::Online => online.clone(),
                OdeStep::Average => self.ask(student.target, z_t, &t, &inputs),
                OdeStep::Base(base) => self.ask(base, z_t, &t, &inputs),
            };
            let z_s = self.earlier(step, noise, &schedule.levels(&s));
            let target = self.ask(student.target, z_s, &s, &inputs);
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
        }
    }
}
