//! Classifier-free guidance as a denoiser around another one.

use crate::{Denoiser, Inputs, Prediction, PredictionKind, Schedule, per_sample};
use burn::tensor::Tensor;

/// The guided model x̂_w = (1 + w) x̂_c − w x̂_∅ (Eq. 2 of 2210.03142): both branches in one
/// batched call of the inner model. The weight of each sample is taken from [`Inputs::w`] (0 where
/// there is none) and is not passed on. The same affine combination holds for ε̂ and v̂. If all w
/// are 0, only the conditional branch is evaluated.
#[derive(Clone, Debug)]
pub struct CfgDenoiser<D> {
    inner: D,
}

impl<D> CfgDenoiser<D> {
    /// Guides a model that was trained with dropped labels.
    pub fn new(inner: D) -> Self {
        Self { inner }
    }
}

impl<D: Denoiser> Denoiser for CfgDenoiser<D> {
    fn predict(&self, z: Tensor<4>, t: &[f64], inputs: &Inputs) -> Prediction {
        let batch = t.len();
        let conditional = inputs.clone().without_guidance();
        let w = inputs.w.clone().unwrap_or_else(|| vec![0.0; batch]);
        if w.iter().all(|&w| w == 0.0) {
            // As v, like the others, so that an image does not depend on the w of its batch.
            let v = self.inner.predict(z.clone(), t, &conditional).v();
            return Prediction::new(PredictionKind::V, v, z, self.schedule().levels(t));
        }
        let both = conditional.cat(&conditional.unconditional());
        let zz = Tensor::cat(vec![z.clone(), z.clone()], 0);
        let v = self.inner.predict(zz, &[t, t].concat(), &both).v();
        let v_c = v.clone().narrow(0, 0, batch);
        let v_0 = v.narrow(0, batch, batch);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analytic::{Gaussian, GaussianDenoiser};
    use burn::tensor::Device;
    use proptest::prelude::*;
    use std::sync::Mutex;

    const CLASS: Gaussian = Gaussian { mu: 0.4, s: 0.3 };
    const ALL: Gaussian = Gaussian { mu: -0.1, s: 0.7 };
    const PIXELS: [f64; 3] = [-1.2, 0.1, 0.9];

    fn model() -> GaussianDenoiser {
        GaussianDenoiser::new(Schedule::default(), vec![CLASS], ALL)
    }

    fn batch() -> Tensor<4> {
        per_sample(PIXELS, &Device::flex())
    }

    fn values(tensor: Tensor<4>) -> Vec<f64> {
        let values: Vec<f32> = tensor.into_data().try_to_vec().expect("f32 data");
        values.into_iter().map(f64::from).collect()
    }

    proptest! {
        /// x̂, ε̂ and v̂ are each the unconditional prediction plus s times the difference, s = 1 +
        /// w, with the w of their own sample.
        #[test]
        fn w_is_the_guidance_scale_less_one(w in prop::array::uniform3(-1.0..6.0f64), t in 0.1..0.9f64) {
            let inputs = Inputs::classes([0; 3]).with_w(w.to_vec());
            let ask = |model: &dyn Denoiser, inputs: &Inputs| {
                let prediction = model.predict(batch(), &[t; 3], inputs);
                [prediction.x(), prediction.eps(), prediction.v()].map(values)
            };
            let guided = ask(&CfgDenoiser::new(model()), &inputs);
            let conditional = ask(&model(), &inputs);
            let unconditional = ask(&model(), &inputs.unconditional());
            for kind in 0..3 {
                for sample in 0..3 {
                    let (c, u) = (conditional[kind][sample], unconditional[kind][sample]);
                    let expected = u + (1.0 + w[sample]) * (c - u);
                    prop_assert!((guided[kind][sample] - expected).abs() < 1e-4);
                }
            }
        }
    }

    #[test]
    fn the_ends_of_w_are_the_branches() {
        let inputs = Inputs::classes([0; 3]);
        let ask = |model: &dyn Denoiser, inputs: &Inputs| {
            values(model.predict(batch(), &[0.6; 3], inputs).v())
        };
        let guided = CfgDenoiser::new(model());
        let close = |a: Vec<f64>, b: Vec<f64>| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6);
        assert_eq!(ask(&guided, &inputs), ask(&model(), &inputs));
        let alone = inputs.clone().with_w(vec![-1.0; 3]);
        assert!(close(
            ask(&guided, &alone),
            ask(&model(), &inputs.unconditional())
        ));
    }

    /// A model that predicts noise.
    struct Noise(GaussianDenoiser);

    impl Denoiser for Noise {
        fn predict(&self, z: Tensor<4>, t: &[f64], inputs: &Inputs) -> Prediction {
            let eps = self.0.predict(z.clone(), t, inputs).eps();
            Prediction::new(PredictionKind::Eps, eps, z, self.schedule().levels(t))
        }
        fn schedule(&self) -> &Schedule {
            self.0.schedule()
        }
    }

    /// A sample with w = 0 is to the bit what it is in a batch without guidance.
    #[test]
    fn samples_do_not_depend_on_the_w_of_others() {
        let guided = CfgDenoiser::new(Noise(model()));
        let ask = |w: [f64; 3]| {
            let inputs = Inputs::classes([0; 3]).with_w(w.to_vec());
            values(guided.predict(batch(), &[0.6; 3], &inputs).x())
        };
        let (mixed, plain) = (ask([0.0, 2.0, 0.0]), ask([0.0; 3]));
        assert_eq!([mixed[0], mixed[2]], [plain[0], plain[2]]);
        assert_ne!(mixed[1], plain[1]);
    }

    /// A model that records its inputs.
    struct Recording {
        inner: GaussianDenoiser,
        asked: Mutex<Vec<Inputs>>,
    }

    impl Denoiser for Recording {
        fn predict(&self, z: Tensor<4>, t: &[f64], inputs: &Inputs) -> Prediction {
            let mut asked = self.asked.lock().expect("whole");
            asked.push(inputs.clone());
            self.inner.predict(z, t, inputs)
        }
        fn schedule(&self) -> &Schedule {
            self.inner.schedule()
        }
    }

    #[test]
    fn both_branches_go_in_one_call_of_two_evaluations() {
        let recording = Recording {
            inner: model(),
            asked: Mutex::default(),
        };
        let guided = CfgDenoiser::new(&recording);
        assert_eq!(guided.network_calls(), 2);
        assert_eq!(CfgDenoiser::new(&guided).network_calls(), 4);
        let inputs = Inputs::classes([0; 3]).with_w(vec![2.0; 3]);
        guided.predict(batch(), &[0.5; 3], &inputs);
        let asked = recording.asked.lock().expect("whole");
        let [asked] = asked.as_slice() else {
            panic!("asked {} times", asked.len());
        };
        assert_eq!(asked.classes, Some([[Some(0); 3], [None; 3]].concat()));
        assert_eq!(asked.w, None);
    }
}
