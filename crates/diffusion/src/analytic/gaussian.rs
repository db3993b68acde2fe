//! One normal distribution per class.

use crate::{Denoiser, Inputs, NoiseLevel, Prediction, PredictionKind, Schedule, per_sample};
use burn::tensor::Tensor;

/// Images whose pixels are independent draws of N(μ, s²).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gaussian {
    /// Mean μ of every pixel.
    pub mu: f64,
    /// Standard deviation s of every pixel, above 0.
    pub s: f64,
}

impl Gaussian {
    /// Variance of a pixel of z_t: α² s² + σ².
    pub fn variance(&self, level: NoiseLevel) -> f64 {
        (level.alpha() * self.s).powi(2) + level.sigma().powi(2)
    }

    /// (a, b) of the best velocity E[v | z_t] = a z_t + b. It follows from x̂ = μ + α s² (z − α μ)
    /// / (α² s² + σ²) and ε̂ = σ (z − α μ) / (α² s² + σ²), and is well-conditioned at every level,
    /// which x̂ and ε̂ are not.
    pub fn velocity(&self, level: NoiseLevel) -> (f64, f64) {
        let (alpha, sigma) = (level.alpha(), level.sigma());
        let a = alpha * sigma * (1.0 - self.s.powi(2)) / self.variance(level);
        (a, -a * alpha * self.mu - sigma * self.mu)
    }

    /// The exact solution of the probability-flow ODE: where z goes between two levels, in either
    /// direction, z_u = α_u μ + √((α_u² s² + σ_u²) / (α_t² s² + σ_t²)) (z_t − α_t μ).
    pub fn flow(&self, z: Tensor<4>, from: NoiseLevel, to: NoiseLevel) -> Tensor<4> {
        let stretch = (self.variance(to) / self.variance(from)).sqrt();
        z * stretch + (to.alpha() - stretch * from.alpha()) * self.mu
    }
}

/// The best denoiser of data that is normally distributed within each class, with its unconditional
/// branch. It ignores the guidance weight: wrap it in [`CfgDenoiser`](crate::CfgDenoiser).
#[derive(Clone, Debug)]
pub struct GaussianDenoiser {
    schedule: Schedule,
    classes: Vec<Gaussian>,
    unconditional: Gaussian,
}

impl GaussianDenoiser {
    /// One distribution per class, and the one of the unconditional branch. That branch need not be
    /// the mixture of the classes (no single normal distribution is): it keeps guidance linear in
    /// z.
    pub fn new(schedule: Schedule, classes: Vec<Gaussian>, unconditional: Gaussian) -> Self {
        Self {
            schedule,
            classes,
            unconditional,
        }
    }

    /// Without classes.
    pub fn unconditional(schedule: Schedule, gaussian: Gaussian) -> Self {
        Self::new(schedule, Vec::new(), gaussian)
    }

    /// The distribution that a sample of this class follows; of all samples for `None`.
    ///
    /// # Panics
    /// When there is no such class.
    pub fn gaussian(&self, class: Option<u32>) -> Gaussian {
        class.map_or(self.unconditional, |class| self.classes[class as usize])
    }
}

impl Denoiser for GaussianDenoiser {
    /// # Panics
    /// For a class that does not exist.
    fn predict(&self, z: Tensor<4>, t: &[f64], inputs: &Inputs) -> Prediction {
        let levels = self.schedule.levels(t);
        let (a, b): (Vec<f64>, Vec<f64>) = levels
            .iter()
            .enumerate()
            .map(|(sample, &level)| {
                let class = inputs.classes.as_ref().and_then(|c| c[sample]);
                self.gaussian(class).velocity(level)
            })
            .unzip();
        let device = z.device();
        let v = z.clone() * per_sample(a, &device) + per_sample(b, &device);
        Prediction::new(PredictionKind::V, v, z, levels)
    }

    fn schedule(&self) -> &Schedule {
        &self.schedule
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;
    use proptest::prelude::*;

    fn value(t: Tensor<4>) -> f64 {
        f64::from(t.into_scalar::<f32>())
    }

    proptest! {
        /// x̂ is the textbook posterior mean μ + α s² (z − α μ) / (α² s² + σ²).
        #[test]
        fn x_is_the_posterior_mean(mu in -1.0..1.0f64, s in 0.05..2.0f64, z in -3.0..3.0f64, t in 0.0..1.0f64) {
            let gaussian = Gaussian { mu, s };
            let denoiser = GaussianDenoiser::unconditional(Schedule::default(), gaussian);
            let level = denoiser.schedule().at(t);
            let expected = mu
                + level.alpha() * s * s * (z - level.alpha() * mu) / gaussian.variance(level);
            let z = per_sample([z], &Device::flex());
            let x = value(denoiser.predict(z, &[t], &Inputs::default()).x());
            prop_assert!((x - expected).abs() < 1e-5, "{x} is not {expected}");
        }

        /// The flow solves dz/dφ = v̂ (the ODE in the angle form), by central differences.
        #[test]
        fn flow_solves_the_ode(mu in -1.0..1.0f64, s in 0.2..2.0f64, z in -3.0..3.0f64, angle in 0.1..1.4f64) {
            let gaussian = Gaussian { mu, s };
            let at = |angle| NoiseLevel { angle };
            let start = per_sample([z], &Device::flex());
            let step = 0.02;
            let flow = |to| value(gaussian.flow(start.clone(), at(angle), at(to)));
            let slope = (flow(angle + step) - flow(angle - step)) / (2.0 * step);
            let (a, b) = gaussian.velocity(at(angle));
            prop_assert!((slope - (a * z + b)).abs() < 0.02 * (1.0 + slope.abs()));
        }
    }

    #[test]
    fn every_sample_gets_its_class() {
        let [first, second, all] =
            [(0.5, 0.1), (-0.5, 0.2), (0.0, 0.6)].map(|(mu, s)| Gaussian { mu, s });
        let denoiser = GaussianDenoiser::new(Schedule::default(), vec![first, second], all);
        let inputs = Inputs {
            classes: Some(vec![Some(1), None, Some(0)]),
            ..Inputs::default()
        };
        let z = per_sample([0.7; 3], &Device::flex());
        let v = denoiser.predict(z, &[0.5; 3], &inputs).v();
        let v: Vec<f32> = v.into_data().try_to_vec().expect("f32 data");
        let level = denoiser.schedule().at(0.5);
        for (v, gaussian) in v.into_iter().zip([second, all, first]) {
            let (a, b) = gaussian.velocity(level);
            assert!((f64::from(v) - (a * 0.7 + b)).abs() < 1e-6);
        }
    }
}
