//! The operations written with the framework's stock ones: what our own kernels are tested against,
//! and what runs on every backend that has none.

use crate::Film;
use burn::tensor::{Tensor, activation, module, ops::ConvOptions};

pub(crate) fn conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    stride: usize,
    padding: [usize; 2],
) -> Tensor<4> {
    let options = ConvOptions::new([stride, stride], padding, [1, 1], 1);
    module::conv2d(x, weight, bias, options)
}

pub(crate) fn group_norm(
    x: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    groups: usize,
    eps: f64,
) -> Tensor<4> {
    let [batch, channels, height, width] = x.dims();
    let x = x.reshape([batch, groups, channels / groups * height * width]);
    let centred = x.clone() - x.mean_dim(2);
    let variance = centred.clone().square().mean_dim(2);
    let normalised = (centred / (variance + eps).sqrt()).reshape([batch, channels, height, width]);
    normalised * per_channel(gamma) + per_channel(beta)
}

pub(crate) fn group_norm_silu(
    x: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    groups: usize,
    eps: f64,
    film: Option<Film>,
) -> Tensor<4> {
    let h = group_norm(x, gamma, beta, groups, eps);
    activation::silu(match film {
        Some(Film { scale, shift }) => {
            h * (scale.unsqueeze_dims::<4>(&[2, 3]) + 1.0) + shift.unsqueeze_dims::<4>(&[2, 3])
        }
        None => h,
    })
}

pub(crate) fn attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>) -> Tensor<4> {
    let scale = 1.0 / (q.dims()[3] as f64).sqrt();
    let scores = q.matmul(k.swap_dims(2, 3)) * scale;
    activation::softmax(scores, 3).matmul(v)
}

fn per_channel(x: Tensor<1>) -> Tensor<4> {
    x.unsqueeze_dims::<4>(&[0, -1, -1])
}
