//! `attention` through the framework: forward, and every gradient.

mod common;

use burn::tensor::{DType, Device, Tensor};
use common::{CliResult, assert_close, backward, floats, leaf, tensor};
use fewstep_kernels::attention;

/// `[batch, heads, tokens, dim]`, and the number of keys.
type Sizes = ([usize; 4], usize);

fn outcome(sizes: Sizes, tracked: [bool; 3], dtype: DType, device: &Device) -> CliResult {
    let (shape @ [batch, heads, _, dim], context) = sizes;
    let of_keys = [batch, heads, context, dim];
    // Heads come out of one projection by moving axes: views, not storage of their own.
    let view = |seed, [b, h, t, d]: [usize; 4], tracked| {
        leaf(tensor::<4>(seed, [b, t, h, d], dtype, device), tracked)
    };
    let [q, k, v] = [
        view(1, shape, tracked[0]),
        view(2, of_keys, tracked[1]),
        view(3, of_keys, tracked[2]),
    ];
    let heads_first = |x: &Tensor<4>, factor: f64| (x.clone() * factor).swap_dims(1, 2);
    let y = attention(
        heads_first(&q, 6.0),
        heads_first(&k, 2.0),
        heads_first(&v, 1.0),
    );
    let gradients = backward(&y);
    std::iter::once(Some(floats(y)))
        .chain([&q, &k, &v].map(|x| x.grad(&gradients).map(floats)))
        .collect()
}

fn check(sizes: Sizes, tracked: [bool; 3]) {
    for device in [
        Device::flex().autodiff(),
        Device::flex().autodiff().gradient_checkpointing(),
    ] {
        let expected = outcome(sizes, tracked, DType::F64, &device);
        assert_close(
            &outcome(sizes, tracked, DType::F32, &device),
            &expected,
            1e-5,
        );
    }
}

#[test]
fn gives_the_output_and_all_gradients() {
    for sizes in [
        ([2, 3, 5, 4], 7),
        ([1, 2, 64, 16], 64),
        ([1, 1, 33, 40], 150),
        ([1, 1, 1, 1], 1),
    ] {
        check(sizes, [true; 3]);
    }
}

#[test]
fn gives_only_the_gradients_asked_for() {
    for tracked in 1..8 {
        check(
            ([1, 2, 6, 8], 6),
            [tracked & 1 > 0, tracked & 2 > 0, tracked & 4 > 0],
        );
    }
}
