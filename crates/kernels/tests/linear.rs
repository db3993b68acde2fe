//! `linear` through the framework: our product and the framework's give the same bits.

mod common;

use burn::tensor::module;
use burn::tensor::{DType, Device, FloatDType, Tensor};
use common::{assert_close, backward, floats, leaf, tensor};
use fewstep_kernels::linear;

/// Sizes that our product takes, [images, rows, inputs, outputs]: outputs and inputs that are no multiples
/// of a tile, few rows, inputs in one and in several turns of the product, several images, also as many as
/// the framework multiplies at the same time. The last two it must leave to the framework: multiplied
/// together, the rows of all images would give other bits.
const SIZES: [[usize; 4]; 8] = [
    [1, 4096, 40, 320],
    [1, 64, 1280, 1281],
    [1, 77, 2050, 65],
    [2, 130, 1030, 97],
    [3, 256, 320, 320],
    [5, 96, 769, 320],
    [3, 32, 3500, 64],
    [2, 1, 120_000, 65],
];

#[test]
fn gives_the_frameworks_bits() {
    let device = Device::flex();
    for [images, rows, from, to] in SIZES {
        let x = tensor::<3>(1, [images, rows, from], DType::F32, &device);
        let weight = tensor::<2>(2, [from, to], DType::F32, &device);
        let bias = tensor::<1>(3, [to], DType::F32, &device);
        for bias in [None, Some(bias)] {
            let ours = linear(x.clone(), weight.clone(), bias.clone());
            let stock = module::linear(x.clone(), weight.clone(), bias);
            assert_eq!(ours.dims(), [images, rows, to]);
            let size = [images, rows, from, to];
            assert!(floats(ours) == floats(stock), "{size:?}");
        }
    }
}

/// Of weights stored in 16 bits, and of inputs that do not lie in order.
#[test]
fn gives_the_frameworks_bits_for_fewer_bits_and_views() {
    let device = Device::flex();
    let [rows, from, to] = [257, 640, 330];
    let x = tensor::<3>(4, [2, from, rows], DType::F32, &device).swap_dims(1, 2);
    let weight = tensor::<2>(5, [from, to], DType::F32, &device);
    let bias = tensor::<1>(6, [to], DType::F32, &device);
    for dtype in [FloatDType::F16, FloatDType::BF16] {
        let (stored, bias) = (weight.clone().cast(dtype), bias.clone().cast(dtype));
        let wide: Tensor<2> = stored.clone().cast(FloatDType::F32);
        let wide_bias = bias.clone().cast(FloatDType::F32);
        let ours = linear(x.clone(), stored, Some(bias));
        let stock = module::linear(x.clone(), wide, Some(wide_bias));
        assert!(floats(ours) == floats(stock), "{dtype:?}");
    }
}

/// With a graph the framework multiplies, which gives the gradients.
#[test]
fn gives_the_gradients() {
    let outcome = |dtype| {
        let device = Device::flex().autodiff();
        let sizes = ([1, 96, 320], [320, 321], [321]);
        let x = leaf(tensor::<3>(7, sizes.0, dtype, &device), true);
        let weight = leaf(tensor::<2>(8, sizes.1, dtype, &device), true);
        let bias = leaf(tensor::<1>(9, sizes.2, dtype, &device), true);
        let y = linear(x.clone(), weight.clone(), Some(bias.clone()));
        let gradients = backward(&y);
        vec![
            Some(floats(y)),
            x.grad(&gradients).map(floats),
            weight.grad(&gradients).map(floats),
            bias.grad(&gradients).map(floats),
        ]
    };
    assert_close(&outcome(DType::F32), &outcome(DType::F64), 1e-5);
}
