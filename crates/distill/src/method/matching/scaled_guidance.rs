//! A teacher that is guided less, or more, than the student is asked for.

use burn::tensor::Tensor;
use fewstep_diffusion::{Denoiser, Inputs, Prediction, Schedule};

/// A denoiser that is called with w times a factor.
#[derive(Clone, Debug)]
pub struct ScaledGuidance<D> {
    inner: D,
    factor: f64,
}

impl<D> ScaledGuidance<D> {
    /// Calls this denoiser with w times a factor.
    pub fn new(inner: D, factor: f64) -> Self {
        Self { inner, factor }
    }

    fn scaled(&self, inputs: &Inputs) -> Inputs {
        let mut inputs = inputs.clone();
        inputs
            .w
            .iter_mut()
            .flatten()
            .for_each(|w| *w *= self.factor);
        inputs
    }
}

impl<D: Denoiser> Denoiser for ScaledGuidance<D> {
    fn predict(&self, z: Tensor<4>, t: &[f64], inputs: &Inputs) -> Prediction {
        self.inner.predict(z, t, &self.scaled(inputs))
    }

    fn schedule(&self) -> &Schedule {
        self.inner.schedule()
    }

    fn network_calls(&self) -> usize {
        self.inner.network_calls()
    }

    fn logits(&self, z: Tensor<4>, t: &[f64], inputs: &Inputs) -> Option<Tensor<2>> {
        self.inner.logits(z, t, &self.scaled(inputs))
    }
}
