//! `conv2d` through the framework: forward, every gradient, and only the gradients that the graph
//! needs.

mod common;

use burn::tensor::{DType, Device, Tensor};
use common::{CliResult, assert_close, backward, floats, leaf, tensor};

#[derive(Clone, Copy)]
struct Case {
    x: [usize; 4],
    channels_out: usize,
    kernel: [usize; 2],
    stride: usize,
    padding: [usize; 2],
    /// Whether input, weight and bias need gradients.
    tracked: [bool; 3],
    bias: bool,
}

const CASE: Case = Case {
    x: [2, 5, 7, 6],
    channels_out: 3,
    kernel: [3, 3],
    stride: 1,
    padding: [1, 1],
    tracked: [true; 3],
    bias: true,
};

fn outcome(case: Case, dtype: DType, device: &Device) -> CliResult {
    let [h, w] = case.kernel;
    let x = leaf(tensor(1, case.x, dtype, device), case.tracked[0]);
    let weight = leaf(
        tensor(2, [case.channels_out, case.x[1], h, w], dtype, device),
        case.tracked[1],
    );
    let bias = leaf(
        tensor(3, [case.channels_out], dtype, device),
        case.tracked[2],
    );
    // The graph does not end at the leaf: what reaches the kernel is an operation's output.
    let y = fewstep_kernels::conv2d(
        x.clone() * 2.0,
        weight.clone(),
        case.bias.then(|| bias.clone()),
        case.stride,
        case.padding,
    );
    let gradients = case.tracked.iter().any(|&t| t).then(|| backward(&y));
    let gradients = gradients.as_ref();
    vec![
        Some(floats(y)),
        gradients.and_then(|g| x.grad(g)).map(floats),
        gradients.and_then(|g| weight.grad(g)).map(floats),
        gradients.and_then(|g| bias.grad(g)).map(floats),
    ]
}

fn check(case: Case) {
    for device in [
        Device::flex().autodiff(),
        Device::flex().autodiff().gradient_checkpointing(),
    ] {
        let expected = outcome(case, DType::F64, &device);
        assert_close(&outcome(case, DType::F32, &device), &expected, 1e-5);
    }
}

#[test]
fn gives_the_output_and_all_gradients() {
    check(CASE);
    check(Case { stride: 2, ..CASE });
    check(Case {
        kernel: [1, 1],
        padding: [0, 0],
        ..CASE
    });
    check(Case {
        kernel: [2, 3],
        stride: 3,
        padding: [0, 0],
        ..CASE
    });
    check(Case {
        kernel: [1, 7],
        padding: [0, 3],
        ..CASE
    });
}

#[test]
fn gives_only_the_gradients_asked_for() {
    for tracked in 1..8 {
        check(Case {
            tracked: [tracked & 1 > 0, tracked & 2 > 0, tracked & 4 > 0],
            ..CASE
        });
    }
}

#[test]
fn works_without_a_bias() {
    check(Case {
        bias: false,
        tracked: [true, true, false],
        ..CASE
    });
}

/// Reordered, some channels of each map, some maps, a map that is repeated, and one that is turned round.
#[test]
fn reads_views_in_their_own_order() {
    let device = Device::flex();
    let x = tensor::<4>(1, [2, 6, 7, 5], DType::F32, &device);
    let views: [fn(Tensor<4>) -> Tensor<4>; 6] = [
        |x| x.swap_dims(1, 3),
        |x| x.narrow(1, 1, 3),
        |x| x.narrow(1, 2, 1).narrow(2, 3, 4),
        |x| x.narrow(0, 1, 1),
        |x| x.narrow(0, 1, 1).expand([3, 6, 7, 5]),
        |x| x.flip([0]),
    ];
    for (number, view) in views.into_iter().enumerate() {
        let of = |dtype| {
            let x = view(x.clone().cast(dtype));
            let weight = tensor::<4>(2, [3, 3, x.dims()[1], 4], dtype, &device);
            let y = fewstep_kernels::conv2d(x, weight.permute([3, 2, 0, 1]), None, 1, [1, 1]);
            vec![Some(floats(y))]
        };
        println!("view {number}");
        assert_close(&of(DType::F32), &of(DType::F64), 1e-5);
    }
}

#[test]
#[should_panic(expected = "channels")]
fn words_a_wrong_channel_count_as_the_framework_does() {
    let device = Device::flex();
    let x = tensor::<4>(1, [1, 4, 5, 5], DType::F32, &device);
    let weight = tensor::<4>(2, [3, 3, 3, 3], DType::F32, &device);
    let _ = fewstep_kernels::conv2d(x, weight, None, 1, [1, 1]);
}
