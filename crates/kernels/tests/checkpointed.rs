//! A function computed again in the backward pass: its output and gradients are those of the
//! function itself.

mod common;

use burn::tensor::{DType, Device, Tensor};
use common::{CliResult, assert_close, backward, floats, leaf, tensor};
use fewstep_kernels::{DispatchTensor, checkpointed, conv2d, group_norm_silu};

/// A normalisation, a convolution and a residual connection: of a map, two parameters and a kernel.
fn block(inputs: Vec<DispatchTensor>) -> DispatchTensor {
    let [x, gamma, beta, weight] = inputs.try_into().expect("four");
    let x = Tensor::<4>::from_dispatch(x);
    let [gamma, beta] = [gamma, beta].map(Tensor::<1>::from_dispatch);
    let h = group_norm_silu(x.clone(), gamma, beta, 2, 1e-5, None);
    let h = conv2d(h, Tensor::from_dispatch(weight), None, 1, [1, 1]);
    (x + h).into_dispatch()
}

/// The block twice, on inputs that are computed themselves; parameters are shared, as when they are
/// merged before.
fn outcome(recompute: bool, tracked: [bool; 4], device: &Device) -> CliResult {
    let x = leaf(tensor::<4>(1, [2, 4, 5, 5], DType::F32, device), tracked[0]);
    let gamma = leaf(tensor::<1>(2, [4], DType::F32, device), tracked[1]);
    let beta = leaf(tensor::<1>(3, [4], DType::F32, device), tracked[2]);
    let weight = leaf(tensor::<4>(4, [4, 4, 3, 3], DType::F32, device), tracked[3]);
    let apply = |x: Tensor<4>| {
        let inputs = vec![
            x.into_dispatch(),
            gamma.clone().into_dispatch(),
            beta.clone().into_dispatch(),
            (weight.clone() * 2.0).into_dispatch(),
        ];
        Tensor::<4>::from_dispatch(match recompute {
            true => checkpointed(inputs, block),
            false => block(inputs),
        })
    };
    let y = apply(apply(x.clone() * 1.5));
    let gradients = backward(&y);
    [
        Some(floats(y)),
        x.grad(&gradients).map(floats),
        gamma.grad(&gradients).map(floats),
        beta.grad(&gradients).map(floats),
        weight.grad(&gradients).map(floats),
    ]
    .into()
}

#[test]
fn gives_what_the_function_gives() {
    for device in [
        Device::flex().autodiff(),
        Device::flex().autodiff().gradient_checkpointing(),
    ] {
        for tracked in 1..16 {
            let tracked = [1, 2, 4, 8].map(|bit| tracked & bit > 0);
            let expected = outcome(false, tracked, &device);
            assert_close(&outcome(true, tracked, &device), &expected, 1e-5);
        }
    }
}

#[test]
fn gives_the_output_where_no_gradient_is_wanted() {
    let x = tensor::<4>(1, [2, 4, 5, 5], DType::F32, &Device::flex());
    let parameter = |seed| tensor::<1>(seed, [4], DType::F32, &Device::flex()).into_dispatch();
    let weight = tensor::<4>(4, [4, 4, 3, 3], DType::F32, &Device::flex()).into_dispatch();
    let inputs = vec![x.into_dispatch(), parameter(2), parameter(3), weight];
    let expected = Tensor::<4>::from_dispatch(block(inputs.clone()));
    let y = Tensor::<4>::from_dispatch(checkpointed(inputs, block));
    assert_eq!(floats(y), floats(expected));
}
