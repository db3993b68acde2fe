//! The consistency function f out of a prediction.

use burn::tensor::Tensor;
use fewstep_diffusion::{Prediction, per_sample};
use serde::{Deserialize, Serialize};

/// How a consistency function is made to be the identity on images without noise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Boundary {
    /// f = x̂, which is the identity without noise for networks that predict v or ε: x̂ = α z − σ
    /// v̂ with σ = 0.
    #[default]
    Plain,
    /// f = c_skip z + c_out x̂ of latent consistency models (2310.04378): c_skip = σ_d² / (τ² +
    /// σ_d²) and c_out = τ / √(τ² + σ_d²) with τ ten times the timestep of 1000 and σ_d = ½. For
    /// networks that predict x.
    Lcm,
}

impl Boundary {
    /// f of a prediction at these times.
    ///
    /// Only for x̂. ε̂ has no boundary condition: at t = 0 the same combination of ε̂ would be z
    /// itself.
    pub(super) fn image(self, prediction: &Prediction, times: &[f64]) -> Tensor<4> {
        let x = prediction.x();
        match self {
            Boundary::Plain => x,
            Boundary::Lcm => {
                let device = x.device();
                let (skip, out): (Vec<f64>, Vec<f64>) = times.iter().map(|&t| lcm(t)).unzip();
                prediction.z() * per_sample(skip, &device) + x * per_sample(out, &device)
            }
        }
    }
}

/// (c_skip, c_out) at a time in [0, 1].
fn lcm(t: f64) -> (f64, f64) {
    const VARIANCE: f64 = 0.25;
    let tau = 10.0 * 1000.0 * t;
    let sum = tau * tau + VARIANCE;
    (VARIANCE / sum, tau / sum.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;
    use fewstep_diffusion::{NoiseLevel, PredictionKind};

    fn values(tensor: Tensor<4>) -> Vec<f32> {
        tensor.into_data().try_to_vec().expect("f32 data")
    }

    /// Whatever the network's output, f is the identity at t = 0, and very nearly x̂ elsewhere.
    #[test]
    fn f_is_the_identity_without_noise() {
        let of = |kind, boundary: Boundary, angle, t| {
            let z = per_sample([0.3, -0.8], &Device::flex());
            let output = per_sample([5.0, -7.0], &Device::flex());
            let prediction = Prediction::new(kind, output, z, vec![NoiseLevel { angle }; 2]);
            values(boundary.image(&prediction, &[t; 2]))
        };
        for kind in [PredictionKind::V, PredictionKind::Eps] {
            assert_eq!(of(kind, Boundary::Plain, 0.0, 0.0), [0.3, -0.8]);
        }
        assert_eq!(of(PredictionKind::X, Boundary::Lcm, 0.0, 0.0), [0.3, -0.8]);
        let far = of(PredictionKind::X, Boundary::Lcm, 0.8, 0.5);
        assert!((far[0] - 5.0).abs() < 1e-5 && (far[1] + 7.0).abs() < 1e-5);
    }

    #[test]
    fn the_coefficients_are_those_of_latent_consistency_models() {
        let (skip, out) = lcm(0.001);
        assert!((skip - 0.25 / 100.25).abs() < 1e-12);
        assert!((out - 10.0 / 100.25f64.sqrt()).abs() < 1e-12);
    }
}
