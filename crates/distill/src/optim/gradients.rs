//! Gradients of a whole module.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use fewstep_kernels::update::SquaredNorm;

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
