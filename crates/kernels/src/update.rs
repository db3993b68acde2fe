//! What moves parameters: an update of Adam, moving averages and the norm of gradients. Each is one
//! pass over memory; only the norm is by the framework's operations on CPUs. None has a graph.

use crate::extension::{KernelOps, Tensors};
pub use crate::options::{AdamStep, Decay};
use crate::support::on_gpu;
use burn::backend::{Dispatch, DispatchTensor};
use burn::tensor::{DType, Tensor};

/// Parameter and both moments after an update, for tensors in f32.
///
/// # Shapes
/// All the same.
pub fn adam<const D: usize>(
    parameter: &Tensor<D>,
    gradient: &Tensor<D>,
    moments: [&Tensor<D>; 2],
    step: AdamStep,
) -> Option<[Tensor<D>; 3]> {
    let tensors = [parameter, gradient, moments[0], moments[1]];
    let fits =
        |tensor: &&Tensor<D>| tensor.dtype() == DType::F32 && tensor.dims() == parameter.dims();
    if !tensors.iter().all(fits) {
        return None;
    }
    let inputs = tensors.map(|tensor| tensor.clone().into_dispatch());
    let Tensors(results) = <Dispatch as KernelOps>::kernel_adam(Tensors(inputs.into()), step);
    let mut results = results.into_iter();
    let mut next = || results.next().map(Tensor::from_dispatch);
    Some([next()?, next()?, next()?])
}

/// kept a + (1 − kept) b.
///
/// # Shapes
/// All the same.
pub fn mix<const D: usize>(a: Tensor<D>, b: Tensor<D>, kept: f64) -> Tensor<D> {
    let taken = on_gpu(&a) || a.dtype() == DType::F32;
    if !taken || a.dtype() != b.dtype() || a.dims() != b.dims() {
        return a * kept + b * (1.0 - kept);
    }
    Tensor::from_dispatch(<Dispatch as KernelOps>::kernel_mix(
        a.into_dispatch(),
        b.into_dispatch(),
        kept,
    ))
}

/// Squares of tensors of any ranks, summed.
#[derive(Default)]
pub struct SquaredNorm {
    tensors: Vec<DispatchTensor>,
    sums: Vec<Tensor<1>>,
}

impl SquaredNorm {
    /// One more tensor.
    pub fn add<const D: usize>(&mut self, tensor: Tensor<D>) {
        match on_gpu(&tensor) {
            true => self.tensors.push(tensor.into_dispatch()),
            false => self.sums.push(tensor.square().sum()),
        }
    }

    /// The sum over all elements of all tensors, of which there is at least one.
    pub fn sum(mut self) -> Tensor<1> {
        if !self.tensors.is_empty() {
            let tensors = Tensors(self.tensors);
            let sum = <Dispatch as KernelOps>::kernel_squared_norm(tensors);
            self.sums.push(Tensor::from_dispatch(sum));
        }
        Tensor::cat(self.sums, 0).sum()
    }
}
