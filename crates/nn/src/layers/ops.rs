//! The framework's layers, computed by our kernels.

use burn::nn::conv::Conv2d;
use burn::nn::{GroupNorm, Linear};
use burn::tensor::Tensor;
use fewstep_kernels::Film;

/// Runs a convolution layer through our kernels.
pub(crate) fn conv(layer: &Conv2d, x: Tensor<4>) -> Tensor<4> {
    let padding = layer.kernel_size.map(|size| size / 2);
    let bias = layer.bias.as_ref().map(|bias| bias.val());
    fewstep_kernels::conv2d(x, layer.weight.val(), bias, layer.stride[0], padding)
}

/// A linear layer through our kernels, with its parameters rounded to the type of `x`.
pub(crate) fn linear<const D: usize>(layer: &Linear, x: Tensor<D>) -> Tensor<D> {
    let bias = layer.bias.as_ref().map(|bias| bias.val());
    fewstep_kernels::linear(x, layer.weight.val(), bias)
}

/// Group normalisation through our kernels.
pub(crate) fn norm(norm: &GroupNorm, x: Tensor<4>) -> Tensor<4> {
    let (gamma, beta) = affine(norm);
    fewstep_kernels::group_norm(x, gamma, beta, norm.num_groups, norm.epsilon)
}

/// Group normalisation, FiLM and SiLU through our kernels.
pub(crate) fn norm_silu(norm: &GroupNorm, x: Tensor<4>, film: Option<Film>) -> Tensor<4> {
    let (gamma, beta) = affine(norm);
    fewstep_kernels::group_norm_silu(x, gamma, beta, norm.num_groups, norm.epsilon, film)
}

fn affine(norm: &GroupNorm) -> (Tensor<1>, Tensor<1>) {
    let affine = norm.gamma.as_ref().zip(norm.beta.as_ref());
    let (gamma, beta) = affine.expect("our networks normalise with an affine map");
    (gamma.val(), beta.val())
}
