//! Classifier-free guidance as a denoiser around another one.

use crate::{Conditioning, Denoiser, Prediction, PredictionKind, Schedule, per_sample};
use burn::tensor::Tensor;

/// The guided model x̂_w = (1 + w) x̂_c − w x̂_∅ (Eq. 2 of 2210.03142): both branches in one batched call of
/// the inner model. The weight of each sample is taken from [`Conditioning::w`] (0 where there is none) and
/// is not passed on. The same affine combination holds for ε̂ and v̂.
#[derive(Clone, Debug)]
pub struct Guided<D> {
    inner: D,
}

impl<D> Guided<D> {
    /// Guides a model that was trained with dropped labels.
    pub fn new(inner: D) -> Self {
        Self { inner }
    }
}

impl<D: Denoiser> Denoiser for Guided<D> {
    fn predict(&self, z: Tensor<4>, t: &[f64], conditioning: &Conditioning) -> Prediction {
        let batch = t.len();
        let conditional = conditioning.clone().without_w();
        let both = conditional.concat(&conditional.unconditional());
        let zz = Tensor::cat(vec![z.clone(), z.clone()], 0);
        let v = self.inner.predict(zz, &[t, t].concat(), &both).v();
        let v_c = v.clone().narrow(0, 0, batch);
        let v_0 = v.narrow(0, batch, batch);
        let w = conditioning.w.clone().unwrap_or_else(|| vec![0.0; batch]);
        let w = per_sample(w, &z.device());
        let v = v_c.clone() + (v_c - v_0) * w;
        Prediction::new(PredictionKind::V, v, z, self.schedule().levels(t))
    }

    fn schedule(&self) -> &Schedule {
        self.inner.schedule()
    }

    fn network_calls(&self) -> usize {
        2 * self.inner.network_calls()
    }
}
