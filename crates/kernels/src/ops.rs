//! The operations: each chooses between our kernels and the framework's own.

use crate::cpu::matmul;
use crate::extension::{Bias, Function, KernelOps, Modulation, Tensors, Weight};
use crate::flex;
use crate::options::{ConvOptions, Film, NormOptions};
use crate::precision;
use crate::reference;
use crate::support::{
    as_type_of, attention_is_regular, conv_is_regular, floats_of_16_or_32_bits, has_graph,
    in_blocks, norm_is_regular, on_gpu, supported,
};
use burn::backend::{Dispatch, DispatchTensor};
use burn::tensor::Tensor;
use burn::tensor::activation::gelu;
use std::sync::Arc;

/// 2-D convolution with zero padding, with parameters rounded to the type of `x`.
///
/// # Shapes
/// - `x`: `[batch, channels_in, height, width]`
/// - `weight`: `[channels_out, channels_in, kernel_h, kernel_w]`
/// - `bias`: `[channels_out]`
/// - output: `[batch, channels_out, (height + 2 padding[0] - kernel_h) / stride + 1, ...]`
pub fn conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    stride: usize,
    padding: [usize; 2],
) -> Tensor<4> {
    let fits = supported(&x)
        && on_gpu(&weight) == on_gpu(&x)
        && conv_is_regular(&x, &weight, bias.as_ref(), stride, padding);
    // Our CPU kernels compute in f32, with weights stored in that or in fewer bits; those of GPUs
    // round parameters themselves.
    let taken = match in_blocks(&weight) {
        true => !on_gpu(&x) && !has_graph(&x, &weight),
        false => on_gpu(&x) || floats_of_16_or_32_bits(&weight),
    };
    if !(fits && taken) {
        let (weight, bias) = (
            as_type_of(&x, weight),
            bias.map(|bias| as_type_of(&x, bias)),
        );
        return reference::conv2d(x, weight, bias, stride, padding);
    }
    Tensor::from_dispatch(<Dispatch as KernelOps>::kernel_conv2d(
        x.into_dispatch(),
        weight_of(weight),
        bias.map_or(Bias::Absent, |bias| Bias::Given(bias.into_dispatch())),
        ConvOptions { stride, padding },
    ))
}

/// Group normalisation with a per-channel affine map, computed in f32 whatever the type of `x`.
///
/// # Shapes
/// - `x` and output: `[batch, channels, height, width]`, `channels` a multiple of `groups`
/// - `gamma`, `beta`: `[channels]`
pub fn group_norm(
    x: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    groups: usize,
    eps: f64,
) -> Tensor<4> {
    if !(supported(&x) && norm_is_regular(&x, &gamma, &beta, groups, None)) {
        return reference::group_norm(x, gamma, beta, groups, eps);
    }
    normalise(
        x,
        gamma,
        beta,
        None,
        NormOptions {
            groups,
            eps,
            silu: false,
        },
    )
}

/// Group normalisation, then FiLM if given, then SiLU: `silu(norm(x) * (1 + scale) + shift)`.
///
/// # Shapes
/// As [`group_norm`]; the FiLM tensors are `[batch, channels]`.
pub fn group_norm_silu(
    x: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    groups: usize,
    eps: f64,
    film: Option<Film>,
) -> Tensor<4> {
    if !(supported(&x) && norm_is_regular(&x, &gamma, &beta, groups, film.as_ref())) {
        return reference::group_norm_silu(x, gamma, beta, groups, eps, film);
    }
    normalise(
        x,
        gamma,
        beta,
        film,
        NormOptions {
            groups,
            eps,
            silu: true,
        },
    )
}

/// Scaled dot-product attention, `softmax(q kᵀ / sqrt(dim)) v`.
///
/// # Shapes
/// - `q`: `[batch, heads, tokens, dim]`
/// - `k`, `v`: `[batch, heads, context, dim]`
/// - output: `[batch, heads, tokens, dim]`
pub fn attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>) -> Tensor<4> {
    if !(supported(&q) && attention_is_regular(&q, &k, &v)) {
        return reference::attention(q, k, v);
    }
    Tensor::from_dispatch(<Dispatch as KernelOps>::kernel_attention(
        q.into_dispatch(),
        k.into_dispatch(),
        v.into_dispatch(),
    ))
}

/// A linear layer, `x weight + bias`, with parameters rounded to the type of `x`.
///
/// # Shapes
/// - `x`: `[.., from]`
/// - `weight`: `[from, to]`
/// - `bias`: `[to]`
/// - output: `[.., to]`
pub fn linear<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    let ([from, to], size) = (weight.dims(), x.dims());
    let fits = size[D - 1] == from && bias.as_ref().is_none_or(|bias| bias.dims() == [to]);
    let filled = size.iter().chain(&[from, to]).all(|&extent| extent > 0);
    let taken = match on_gpu(&x) {
        true => on_gpu(&weight),
        false => !has_graph(&x, &weight) && taken_on_cpu(&weight, size.iter().rev().nth(1)),
    };
    if !(taken && supported(&x) && fits && filled) {
        let (weight, bias) = (
            as_type_of(&x, weight),
            bias.map(|bias| as_type_of(&x, bias)),
        );
        return burn::tensor::module::linear(x, weight, bias);
    }
    let (rows, mut size) = (x.shape().num_elements() / from, size);
    // The kernels of GPUs round parameters themselves.
    let bias = bias.map(|bias| match on_gpu(&x) {
        true => bias,
        false => as_type_of(&x, bias),
    });
    let y = Tensor::<2>::from_dispatch(<Dispatch as KernelOps>::kernel_linear(
        x.reshape([rows, from]).into_dispatch(),
        weight_of(weight),
        bias.map_or(Bias::Absent, |bias| Bias::Given(bias.into_dispatch())),
    ));
    size[D - 1] = to;
    y.reshape(size)
}

/// x σ(x), for tensors that are not maps.
pub fn silu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    match on_gpu(&x) && supported(&x) {
        true => Tensor::from_dispatch(<Dispatch as KernelOps>::kernel_silu(x.into_dispatch())),
        false => burn::tensor::activation::silu(x),
    }
}

/// One half of the last axis times GELU of the other (GEGLU, 2002.05202).
///
/// # Shapes
/// - `x`: `[.., 2 width]`
/// - output: `[.., width]`
pub fn geglu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let size = x.dims();
    let taken = !on_gpu(&x) && supported(&x) && !x.is_autodiff() && size.iter().all(|&n| n > 0);
    if !(taken && size[D - 1].is_multiple_of(2)) {
        let halves = x.chunk(2, D - 1);
        return halves[0].clone() * gelu(halves[1].clone());
    }
    flex::apply(x, flex::geglu)
}

/// The value of a function of at least one tensor and at most 64, of any ranks. Only its inputs are
/// kept for the backward pass, which computes it again, so it must depend on nothing else.
///
/// Gradient checkpointing by whole blocks (1604.06174). The inputs that are constants of the graph
/// get no gradients.
pub fn checkpointed(
    inputs: Vec<DispatchTensor>,
    function: impl Fn(Vec<DispatchTensor>) -> DispatchTensor + Send + Sync + 'static,
) -> DispatchTensor {
    <Dispatch as KernelOps>::kernel_checkpointed(Tensors(inputs), Function(Arc::new(function)))
}

/// Whether our kernels multiply with this weight, images of so many rows. Floats give the bits of the
/// framework's product, unless their factors are rounded.
fn taken_on_cpu(weight: &Tensor<2>, rows: Option<&usize>) -> bool {
    let large = || rows.is_some_and(|&rows| matmul::fits(rows, weight.dims()));
    let floats = floats_of_16_or_32_bits(weight);
    in_blocks(weight) || precision::dot().is_some() || floats && large()
}

fn weight_of<const D: usize>(weight: Tensor<D>) -> Weight<Dispatch> {
    match in_blocks(&weight) {
        true => Weight::Blocks(weight.into_dispatch()),
        false => Weight::Floats(weight.into_dispatch()),
    }
}

fn normalise(
    x: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    film: Option<Film>,
    options: NormOptions,
) -> Tensor<4> {
    let modulation = match film {
        Some(Film { scale, shift }) => Modulation::Film {
            scale: scale.into_dispatch(),
            shift: shift.into_dispatch(),
        },
        None => Modulation::Absent,
    };
    Tensor::from_dispatch(<Dispatch as KernelOps>::kernel_group_norm(
        x.into_dispatch(),
        gamma.into_dispatch(),
        beta.into_dispatch(),
        modulation,
        options,
    ))
}
