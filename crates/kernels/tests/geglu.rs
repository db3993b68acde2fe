//! `geglu` through the framework, with and without a graph, and against the framework's own operations.

mod common;

use burn::tensor::activation::gelu;
use burn::tensor::{DType, Device, Tensor};
use common::{assert_close, backward, floats, leaf, tensor};
use fewstep_kernels::geglu;

fn halves(x: Tensor<3>) -> Tensor<3> {
    let halves = x.chunk(2, 2);
    halves[0].clone() * gelu(halves[1].clone())
}

#[test]
fn equals_the_frameworks_operations() {
    let device = Device::flex();
    let check = |x: Tensor<3>| {
        let outcome = |y| vec![Some(floats(y))];
        assert_close(&outcome(geglu(x.clone())), &outcome(halves(x)), 1e-6);
    };
    for size in [[2, 7, 6], [1, 1, 2], [3, 500, 320]] {
        check(tensor::<3>(1, size, DType::F32, &device) * 3.0);
    }
    // A view whose rows are not in order.
    check(tensor::<3>(2, [4, 6, 8], DType::F32, &device).swap_dims(0, 1));
}

/// The same bits with and without a graph: a student that starts as its teacher has no loss.
#[test]
fn a_graph_does_not_change_the_result() {
    let x = |device| tensor::<3>(1, [3, 50, 320], DType::F32, &device);
    let device = Device::flex();
    let with = geglu(leaf(x(device.clone().autodiff()), true));
    assert_eq!(floats(with), floats(geglu(x(device))));
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
