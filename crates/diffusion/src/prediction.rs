//! What a network predicts, and the one place that converts between x, ε and v.

use crate::NoiseLevel;
use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

/// What the output of a network stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PredictionKind {
    /// The clean image x.
    X,
    /// The noise ε.
    Eps,
    /// The velocity v = α ε − σ x.
    V,
}

/// One value per sample as a tensor `[batch, 1, 1, 1]` that broadcasts over images.
pub fn per_sample(values: impl IntoIterator<Item = f64>, device: &Device) -> Tensor<4> {
    let values: Vec<f32> = values.into_iter().map(|v| v as f32).collect();
    let batch = values.len();
    Tensor::from_data(TensorData::new(values, [batch, 1, 1, 1]), device)
}

/// A denoiser's prediction for a batch of noisy images, whatever the network's output means.
#[derive(Clone, Debug)]
pub struct Prediction {
    kind: PredictionKind,
    output: Tensor<4>,
    z: Tensor<4>,
    levels: Vec<NoiseLevel>,
}

impl Prediction {
    /// A network output of the given kind for the noisy images `z`, one noise level per sample.
    pub fn new(
        kind: PredictionKind,
        output: Tensor<4>,
        z: Tensor<4>,
        levels: Vec<NoiseLevel>,
    ) -> Self {
        Self {
            kind,
            output,
            z,
            levels,
        }
    }

    /// The noisy images, `[batch, channels, height, width]`.
    pub fn z(&self) -> Tensor<4> {
        self.z.clone()
    }

    /// The noise level of each sample.
    pub fn levels(&self) -> &[NoiseLevel] {
        &self.levels
    }

    /// x̂, the clean image.
    pub fn x(&self) -> Tensor<4> {
        match self.kind {
            PredictionKind::X => self.output.clone(),
            PredictionKind::Eps => {
                // x = (z − σ ε) / α
                self.mix(
                    |l| 1.0 / floor(l.alpha()),
                    |l| -l.sigma() / floor(l.alpha()),
                )
            }
            // x = α z − σ v
            PredictionKind::V => self.mix(NoiseLevel::alpha, |l| -l.sigma()),
        }
    }

    /// ε̂, the noise.
    pub fn eps(&self) -> Tensor<4> {
        match self.kind {
            // ε = (z − α x) / σ
            PredictionKind::X => self.mix(
                |l| 1.0 / floor(l.sigma()),
                |l| -l.alpha() / floor(l.sigma()),
            ),
            PredictionKind::Eps => self.output.clone(),
            // ε = σ z + α v
            PredictionKind::V => self.mix(NoiseLevel::sigma, NoiseLevel::alpha),
        }
    }

    /// v̂, the velocity α ε̂ − σ x̂.
    pub fn v(&self) -> Tensor<4> {
        match self.kind {
            // v = (α z − x) / σ
            PredictionKind::X => self.mix(
                |l| l.alpha() / floor(l.sigma()),
                |l| -1.0 / floor(l.sigma()),
            ),
            // v = (ε − σ z) / α
            PredictionKind::Eps => self.mix(
                |l| -l.sigma() / floor(l.alpha()),
                |l| 1.0 / floor(l.alpha()),
            ),
            PredictionKind::V => self.output.clone(),
        }
    }

    /// The same prediction with x̂ forced into `[low, high]`; ε̂ and v̂ follow from the forced x̂.
    pub fn clipped(self, low: f64, high: f64) -> Self {
        let x = self.x().clamp(low, high);
        Self {
            kind: PredictionKind::X,
            output: x,
            ..self
        }
    }

    /// One deterministic (DDIM) step to other noise levels, noisier or cleaner, in its angle form:
    /// z_s = cos(φ_s − φ_t) z_t + sin(φ_s − φ_t) v̂. The same as α_s x̂ + σ_s ε̂.
    pub fn ddim(&self, to: &[NoiseLevel]) -> Tensor<4> {
        let device = self.z.device();
        let turn = |f: fn(f64) -> f64| {
            let angles = self
                .levels
                .iter()
                .zip(to)
                .map(|(t, s)| f(s.angle - t.angle));
            per_sample(angles, &device)
        };
        self.z.clone() * turn(f64::cos) + self.v() * turn(f64::sin)
    }

    /// `of_z` · z + `of_output` · output, with coefficients computed per sample in f64.
    fn mix(
        &self,
        of_z: impl Fn(NoiseLevel) -> f64,
        of_output: impl Fn(NoiseLevel) -> f64,
    ) -> Tensor<4> {
        let device = self.z.device();
        let of_z = per_sample(self.levels.iter().map(|&l| of_z(l)), &device);
        let of_output = per_sample(self.levels.iter().map(|&l| of_output(l)), &device);
        self.z.clone() * of_z + self.output.clone() * of_output
    }
}

/// Keeps a division finite at the very ends of a discrete schedule, where α or σ is exactly 0.
fn floor(value: f64) -> f64 {
    value.max(1e-8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn single(value: f64) -> Tensor<4> {
        per_sample([value], &Device::flex())
    }

    fn value(t: Tensor<4>) -> f64 {
        t.into_scalar::<f32>() as f64
    }

    proptest! {
        /// From a known (x, ε), each kind of network output gives back the same x, ε, v.
        #[test]
        fn kinds_agree(x in -1.0..1.0f64, eps in -3.0..3.0f64, angle in 0.1..1.4f64) {
            let level = NoiseLevel { angle };
            let (alpha, sigma) = (level.alpha(), level.sigma());
            let z = alpha * x + sigma * eps;
            let v = alpha * eps - sigma * x;
            for (kind, output) in [(PredictionKind::X, x), (PredictionKind::Eps, eps), (PredictionKind::V, v)] {
                let p = Prediction::new(kind, single(output), single(z), vec![level]);
                prop_assert!((value(p.x()) - x).abs() < 1e-4);
                prop_assert!((value(p.eps()) - eps).abs() < 1e-4);
                prop_assert!((value(p.v()) - v).abs() < 1e-4);
            }
        }

        /// The angle form of DDIM equals α_s x̂ + σ_s ε̂, in both directions of time.
        #[test]
        fn ddim_forms_agree(v in -2.0..2.0f64, z in -2.0..2.0f64, t in 0.01..1.56f64, s in 0.0..1.56f64) {
            let to = NoiseLevel { angle: s };
            let p = Prediction::new(PredictionKind::V, single(v), single(z), vec![NoiseLevel { angle: t }]);
            let expected = to.alpha() * value(p.x()) + to.sigma() * value(p.eps());
            prop_assert!((value(p.ddim(&[to])) - expected).abs() < 1e-5);
        }
    }

    #[test]
    fn clipping_recomputes_the_noise() {
        let level = NoiseLevel { angle: 0.8 };
        let p = Prediction::new(PredictionKind::V, single(-2.0), single(1.0), vec![level]);
        assert!(value(p.x()) > 1.0);
        let p = p.clipped(-1.0, 1.0);
        assert_eq!(value(p.x()), 1.0);
        let expected = (1.0 - level.alpha()) / level.sigma();
        assert!((value(p.eps()) - expected).abs() < 1e-6);
    }
}
