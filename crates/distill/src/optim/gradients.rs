//! Gradients of a whole module.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Tensor, TensorData};
use fewstep_kernels::update::SquaredNorm;
use std::hash::{DefaultHasher, Hasher};

/// Sum of all squared gradients, as a tensor of one number.
pub(super) fn squared_norm<M: Module>(gradients: &GradientsParams, module: &M) -> Tensor<1> {
    struct Squares<'a> {
        gradients: &'a GradientsParams,
        norm: SquaredNorm,
    }
    impl ModuleVisitor for Squares<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.gradients.get::<D>(param.id) {
                self.norm.add(gradient);
            }
        }
    }
    let mut squares = Squares {
        gradients,
        norm: SquaredNorm::default(),
    };
    module.visit(&mut squares);
    squares.norm.sum()
}

/// Multiplies all gradients by a number.
pub(super) fn scale<M: Module>(gradients: &mut GradientsParams, module: &M, factor: f64) {
    struct Scale<'a> {
        gradients: &'a mut GradientsParams,
        factor: f64,
    }
    impl ModuleVisitor for Scale<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.gradients.remove::<D>(param.id) {
                self.gradients.register(param.id, gradient * self.factor);
            }
        }
    }
    module.visit(&mut Scale { gradients, factor });
}

/// What stands in a row for a gradient that is not there: adding it changes no bit of any number.
const NOTHING: f32 = -0.0;

/// All gradients in one row, in the order of the parameters in training, and for each of these
/// whether it has one.
pub(super) fn flatten<M: Module>(gradients: GradientsParams, module: &M) -> (Vec<f32>, Vec<u8>) {
    struct Flatten {
        gradients: GradientsParams,
        row: Vec<f32>,
        present: Vec<u8>,
    }
    impl ModuleVisitor for Flatten {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let parameter = param.val();
            if !parameter.is_require_grad() {
                return;
            }
            let gradient = self.gradients.remove::<D>(param.id);
            self.present.push(gradient.is_some().into());
            let values = gradient.map(|gradient| gradient.into_data().try_to_vec::<f32>());
            match values {
                Some(values) => self.row.extend(values.unwrap_or_default()),
                None => {
                    let end = self.row.len() + parameter.shape().num_elements();
                    self.row.resize(end, NOTHING);
                }
            }
        }
    }
    let mut flat = Flatten {
        gradients,
        row: vec![],
        present: vec![],
    };
    module.visit(&mut flat);
    (flat.row, flat.present)
}

/// The reverse of [`flatten`].
pub(super) fn unflatten<M: Module>(row: &[f32], present: &[u8], module: &M) -> GradientsParams {
    struct Unflatten<'a> {
        gradients: GradientsParams,
        row: &'a [f32],
        present: std::slice::Iter<'a, u8>,
    }
    impl ModuleVisitor for Unflatten<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let parameter = param.val();
            if !parameter.is_require_grad() {
                return;
            }
            let shape = parameter.shape();
            let (values, rest) = self.row.split_at(shape.num_elements());
            self.row = rest;
            if self.present.next() == Some(&1) {
                let data = TensorData::new(values.to_vec(), shape);
                let gradient = Tensor::<D>::from_data(data, &parameter.device().inner());
                self.gradients.register(param.id, gradient);
            }
        }
    }
    let mut taken = Unflatten {
        gradients: GradientsParams::new(),
        row,
        present: present.iter(),
    };
    module.visit(&mut taken);
    taken.gradients
}

/// A digest of all parameters: equal bits have equal digests.
pub(super) fn digest<M: Module>(module: &M) -> u64 {
    struct Digest(DefaultHasher);
    impl ModuleVisitor for Digest {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.write(param.val().into_data().bytes());
        }
    }
    let mut digest = Digest(DefaultHasher::new());
    module.visit(&mut digest);
    digest.0.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    use burn::tensor::Device;

    /// A parameter in training with a gradient, one without, and one that is frozen.
    #[derive(Module, Debug)]
    struct Three {
        moved: Param<Tensor<2>>,
        still: Param<Tensor<1>>,
        frozen: Param<Tensor<1>>,
    }

    fn parameter<const D: usize>(values: &[f32], shape: [usize; D]) -> Param<Tensor<D>> {
        let data = TensorData::new(values.to_vec(), shape);
        Param::from_tensor(Tensor::from_data(data, &Device::flex()))
    }

    /// Its gradients are 1 to 4 for `moved`.
    fn three() -> (Three, GradientsParams) {
        let module = Three {
            moved: parameter(&[0.5; 4], [2, 2]),
            still: parameter(&[7.0; 3], [3]),
            frozen: parameter(&[9.0; 2], [2]),
        };
        let module = module.unfreeze().train();
        let module = Three {
            frozen: module.frozen.set_require_grad(false),
            ..module
        };
        let factors = TensorData::new(vec![1.0f32, 2.0, 3.0, 4.0], [2, 2]);
        let device = module.moved.val().device();
        let loss = (module.moved.val() * Tensor::from_data(factors, &device)).sum();
        let gradients = GradientsParams::from_grads(loss.backward(), &module);
        (module, gradients)
    }

    fn moved(gradients: &GradientsParams, module: &Three) -> Vec<f32> {
        let gradient = gradients.get::<2>(module.moved.id).expect("a gradient");
        gradient.into_data().try_to_vec().expect("f32 data")
    }

    /// A row holds every parameter in training, and gives back what was put in: no gradient where
    /// there was none.
    #[test]
    fn gradients_survive_their_row() {
        let (module, gradients) = three();
        let (row, present) = flatten(gradients, &module);
        assert_eq!(row, [1.0, 2.0, 3.0, 4.0, 0.0, 0.0, 0.0]);
        assert!(row[4..].iter().all(|value| value.is_sign_negative()));
        assert_eq!(present, [1, 0]);
        let back = unflatten(&row, &present, &module);
        assert_eq!(moved(&back, &module), [1.0, 2.0, 3.0, 4.0]);
        assert!(back.get::<1>(module.still.id).is_none());
        assert!(back.get::<1>(module.frozen.id).is_none());
    }

    #[test]
    fn norms_and_factors_are_of_all_gradients() {
        let (module, mut gradients) = three();
        let norm = squared_norm(&gradients, &module).into_scalar::<f32>();
        assert_eq!(norm, 30.0);
        scale(&mut gradients, &module, 0.5);
        assert_eq!(moved(&gradients, &module), [0.5, 1.0, 1.5, 2.0]);
    }

    #[test]
    fn other_parameters_have_another_digest() {
        let (module, _) = three();
        let before = digest(&module);
        assert_eq!(before, digest(&module.clone()));
        let other = Three {
            frozen: parameter(&[9.0, 8.0], [2]),
            ..module
        };
        assert_ne!(before, digest(&other));
    }
}
