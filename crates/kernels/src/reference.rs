//! The operations in terms of the framework's own: our kernels are tested against them, and they
//! run wherever our kernels do not fit.

use crate::options::Film;
use burn::tensor::{FloatDType, Tensor, activation, module, ops::ConvOptions};

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
    let dtype = FloatDType::from(x.dtype());
    affine_norm(x.cast(sum_type(dtype)), gamma, beta, groups, eps).cast(dtype)
}

fn affine_norm(
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
    let dtype = FloatDType::from(x.dtype());
    let wide = |film: Tensor<2>| film.cast(sum_type(dtype)).unsqueeze_dims::<4>(&[2, 3]);
    let h = affine_norm(x.cast(sum_type(dtype)), gamma, beta, groups, eps);
    let h = match film {
        Some(Film { scale, shift }) => h * (wide(scale) + 1.0) + wide(shift),
        None => h,
    };
    activation::silu(h).cast(dtype)
}

pub(crate) fn attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>) -> Tensor<4> {
    let scale = 1.0 / (q.dims()[3] as f64).sqrt();
    let dtype = FloatDType::from(q.dtype());
    let scores = q.matmul(k.swap_dims(2, 3)).cast(sum_type(dtype)) * scale;
    activation::softmax(scores, 3).cast(dtype).matmul(v)
}

fn per_channel(x: Tensor<1>) -> Tensor<4> {
    x.unsqueeze_dims::<4>(&[0, -1, -1])
}

/// The type in which many numbers of a type are summed: f32 for those of 16 bits.
fn sum_type(dtype: FloatDType) -> FloatDType {
    match dtype {
        FloatDType::BF16 | FloatDType::F16 => FloatDType::F32,
        wide => wide,
    }
}
