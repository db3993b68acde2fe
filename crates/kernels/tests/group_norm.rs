//! `group_norm` and `group_norm_silu` through the framework: forward, and every gradient.

mod common;

use burn::tensor::{DType, Device, Tensor};
use common::{CliResult, assert_close, backward, floats, leaf, tensor};
use fewstep_kernels::{Film, group_norm, group_norm_silu};

#[derive(Clone, Copy, PartialEq)]
enum Form {
    Plain,
    Silu,
    Film,
}

/// Whether the map, gamma, beta, scale and shift need gradients.
type Tracked = [bool; 5];

fn outcome(
    form: Form,
    groups: usize,
    tracked: Tracked,
    dtype: DType,
    device: &Device,
) -> CliResult {
    let shape @ [batch, channels, ..] = [3, 6, 5, 7];
    let x = leaf(tensor(1, shape, dtype, device), tracked[0]);
    let [gamma, beta] =
        [1, 2].map(|i| leaf(tensor(i as u64 + 1, [channels], dtype, device), tracked[i]));
    let [scale, shift] = [3, 4].map(|i| {
        leaf(
            tensor(i as u64 + 1, [batch, channels], dtype, device),
            tracked[i],
        )
    });
    let film = || Film {
        scale: scale.clone() * 1.0,
        shift: shift.clone() * 1.0,
    };
    // The graph does not end at the leaf: what reaches the kernel is an operation's output.
    let (input, eps) = (x.clone() * 3.0 + 2.0, 1e-5);
    let y = match form {
        Form::Plain => group_norm(input, gamma.clone(), beta.clone(), groups, eps),
        Form::Silu => group_norm_silu(input, gamma.clone(), beta.clone(), groups, eps, None),
        Form::Film => group_norm_silu(
            input,
            gamma.clone(),
            beta.clone(),
            groups,
            eps,
            Some(film()),
        ),
    };
    // Another operation needs the output in its own backward pass.
    let y = y.clone() * y;
    let gradients = backward(&y);
    let two = |x: &Tensor<2>| x.grad(&gradients).map(floats);
    let one = |x: &Tensor<1>| x.grad(&gradients).map(floats);
    vec![
        Some(floats(y)),
        x.grad(&gradients).map(floats),
        one(&gamma),
        one(&beta),
        two(&scale),
        two(&shift),
    ]
}

fn check(form: Form, groups: usize, tracked: Tracked) {
    for device in [
        Device::flex().autodiff(),
        Device::flex().autodiff().gradient_checkpointing(),
    ] {
        let expected = outcome(form, groups, tracked, DType::F64, &device);
        assert_close(
            &outcome(form, groups, tracked, DType::F32, &device),
            &expected,
            1e-5,
        );
    }
}

#[test]
fn gives_the_output_and_all_gradients() {
    for form in [Form::Plain, Form::Silu, Form::Film] {
        for groups in [1, 3, 6] {
            check(form, groups, [true; 5]);
        }
    }
}

#[test]
fn gives_only_the_gradients_asked_for() {
    for one in 0..5 {
        check(Form::Film, 2, std::array::from_fn(|i| i == one));
        check(Form::Film, 2, std::array::from_fn(|i| i != one));
    }
}

#[test]
fn keeps_its_precision_beside_a_large_mean() {
    let device = Device::flex();
    let ones = || Tensor::<1>::ones([4], &device);
    let x = tensor::<4>(5, [2, 4, 8, 8], DType::F32, &device) + 1000.0;
    let ours = group_norm(x.clone(), ones(), ones(), 2, 1e-5);
    let expected = group_norm(
        x.cast(DType::F64),
        ones().cast(DType::F64),
        ones().cast(DType::F64),
        2,
        1e-5,
    );
    // The input itself has steps of 6e-5, and a deviation of 0.29.
    assert_close(
        &vec![Some(floats(ours))],
        &vec![Some(floats(expected))],
        3e-4,
    );
}
