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
