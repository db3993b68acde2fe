//! Averages of parameters.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::Tensor;
use fewstep_kernels::update;
use std::collections::VecDeque;

/// `average` ← γ `average` + (1 − γ) `module`, parameter by parameter. The average has no graph.
/// Frozen parameters stay as they are, to the bit.
pub(super) fn blend<M: Module>(average: M, module: &M, decay: f64) -> M {
    let mut current = Flat::default();
    module.visit(&mut current);
    average.map(&mut Blend {
        current: current.parameters,
        decay,
    })
}

#[derive(Default)]
struct Flat {
    parameters: VecDeque<Option<Tensor<1>>>,
}

impl ModuleVisitor for Flat {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val();
        let trained = value.is_require_grad();
        let flat = trained.then(|| value.inner().flatten(0, D - 1));
        self.parameters.push_back(flat);
    }
}

struct Blend {
    current: VecDeque<Option<Tensor<1>>>,
    decay: f64,
}

impl ModuleMapper for Blend {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let current = self
            .current
            .pop_front()
            .expect("both modules have the same parameters");
        match current {
            None => param,
            Some(current) => param.map(|average| {
                let current = current.reshape(average.shape());
                update::mix(average, current, self.decay)
            }),
        }
    }
}
