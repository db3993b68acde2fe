//! `geglu` through the framework: with and without a graph, in both types, the same.

mod common;

use burn::tensor::activation::gelu;
use burn::tensor::{DType, Device, Tensor};
use common::{assert_close, backward, floats, leaf, tensor};
use fewstep_kernels::geglu;

fn halves(x: Tensor<3>) -> Tensor<3> {
    let halves = x.chunk(2, 2);
    halves[0].clone() * gelu(halves[1].clone())
}

/// Without a graph our kernel computes it, and gives the bits of the framework's operations.
#[test]
fn the_kernel_gives_the_frameworks_bits() {
    let device = Device::flex();
    for size in [[2, 7, 6], [1, 1, 2], [3, 500, 320]] {
        let x = tensor::<3>(1, size, DType::F32, &device) * 3.0;
        assert_eq!(floats(geglu(x.clone())), floats(halves(x)));
    }
    // A view whose rows are not in order.
    let x = tensor::<3>(2, [4, 6, 8], DType::F32, &device).swap_dims(0, 1);
    assert_eq!(floats(geglu(x.clone())), floats(halves(x)));
}

#[test]
fn gives_the_gradient() {
    let outcome = |dtype| {
        let device = Device::flex().autodiff();
        let x = leaf(tensor::<3>(3, [2, 5, 8], dtype, &device), true);
        let y = geglu(x.clone());
        let gradients = backward(&y);
        vec![Some(floats(y)), x.grad(&gradients).map(floats)]
    };
    assert_close(&outcome(DType::F32), &outcome(DType::F64), 1e-5);
}
