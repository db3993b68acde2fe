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

#[cfg(test)]
mod tests {
    use super::*;

    use crate::method::start::testing::{MEANS, batch, schedule, teacher};
    use burn::tensor::Tensor;

    fn v(model: &dyn Denoiser, w: Vec<f64>) -> Vec<f32> {
        let batch = batch(0, MEANS.len(), [1, 1, 1]);
        let z = batch.images / 100.0;
        let inputs = batch.inputs.with_w(w);
        let v = model.predict(z, &[0.5; MEANS.len()], &inputs).v();
        v.into_data().try_to_vec().expect("f32 data")
    }

    /// A denoiser that answers with the w that it is asked for.
    struct Echo(Schedule);

    impl Denoiser for Echo {
        fn predict(&self, z: Tensor<4>, t: &[f64], inputs: &Inputs) -> Prediction {
            teacher().predict(z, t, inputs)
        }
        fn schedule(&self) -> &Schedule {
            &self.0
        }
        fn logits(&self, z: Tensor<4>, _: &[f64], inputs: &Inputs) -> Option<Tensor<2>> {
            let w = fewstep_diffusion::per_sample(inputs.w.clone()?, &z.device());
            Some(w.flatten::<2>(1, 3))
        }
    }

    /// Each sample's own w times the factor, in images and in logits, and nothing else.
    #[test]
    fn w_is_scaled_and_nothing_else() {
        let scaled = ScaledGuidance::new(teacher(), 3.0);
        assert_eq!(v(&scaled, vec![0.5, 2.0]), v(&teacher(), vec![1.5, 6.0]));
        assert_ne!(v(&scaled, vec![0.5, 2.0]), v(&teacher(), vec![0.5, 2.0]));
        assert_eq!(scaled.network_calls(), 2);
        assert_eq!(scaled.schedule(), &schedule());
        let echo = ScaledGuidance::new(Echo(schedule()), 3.0);
        let inputs = Inputs::default().with_w(vec![0.5, -2.0]);
        let z = Tensor::ones([2, 1, 1, 1], &burn::tensor::Device::flex());
        let logits = echo.logits(z, &[0.5; 2], &inputs).expect("an answer");
        assert_eq!(logits.into_data().try_to_vec::<f32>(), Ok(vec![1.5, -6.0]));
    }
}
