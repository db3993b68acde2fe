//! The operations in which a diffusion network spends its time: convolution, group normalisation
//! (with FiLM and SiLU) and attention.
//!
//! A network calls these functions and nothing else; which implementation runs is decided here.

mod autodiff;
mod cpu;
mod extension;
mod flex;
mod lanes;
pub mod memory;
mod reference;

pub use burn::backend::DispatchTensor;
pub use lanes::in_lanes;

use burn::backend::{Dispatch, DispatchDevice, DispatchTensorKind};
use burn::tensor::{DType, Tensor};
use extension::{Bias, ConvOptions, Function, KernelOps, Modulation, NormOptions, Tensors};
use std::sync::Arc;

/// Feature-wise linear modulation of a normalised map: `h * (1 + scale) + shift`.
#[derive(Clone, Debug)]
pub struct Film {
    /// `[batch, channels]`.
    pub scale: Tensor<2>,
    /// `[batch, channels]`.
    pub shift: Tensor<2>,
}

/// 2-D convolution with zero padding.
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
    if !(ours(&x) && ours(&weight) && conv_is_regular(&x, &weight, bias.as_ref(), stride, padding))
    {
        return reference::conv2d(x, weight, bias, stride, padding);
    }
    Tensor::from_dispatch(<Dispatch as KernelOps>::kernel_conv2d(
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.map_or(Bias::Absent, |bias| Bias::Given(bias.into_dispatch())),
        ConvOptions { stride, padding },
    ))
}

/// Group normalisation with a per-channel affine map.
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
    if !(ours(&x) && norm_is_regular(&x, &gamma, &beta, groups, None)) {
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

/// Group normalisation, then FiLM where given, then SiLU: `silu(norm(x) * (1 + scale) + shift)`.
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
    if !(ours(&x) && norm_is_regular(&x, &gamma, &beta, groups, film.as_ref())) {
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
    if !(ours(&q) && attention_is_regular(&q, &k, &v)) {
        return reference::attention(q, k, v);
    }
    Tensor::from_dispatch(<Dispatch as KernelOps>::kernel_attention(
        q.into_dispatch(),
        k.into_dispatch(),
        v.into_dispatch(),
    ))
}

/// The value of a function of at least one tensor and at most 32, of any ranks. For the backward pass its inputs are
/// kept and nothing else: it is computed again there, so it must be a function of the inputs alone.
///
/// Gradient checkpointing by whole blocks (1604.06174). The inputs that are constants of the graph get no gradients.
/// On a backend that is not ours the function is simply computed.
pub fn recomputed(
    inputs: Vec<DispatchTensor>,
    function: impl Fn(Vec<DispatchTensor>) -> DispatchTensor + Send + Sync + 'static,
) -> DispatchTensor {
    let on_cpu = |tensor: &DispatchTensor| match &tensor.kind {
        DispatchTensorKind::Autodiff(inner) => matches!(**inner, DispatchTensorKind::Flex(_)),
        kind => matches!(kind, DispatchTensorKind::Flex(_)),
    };
    if !inputs.iter().all(on_cpu) {
        return function(inputs);
    }
    <Dispatch as KernelOps>::kernel_recomputed(Tensors(inputs), Function(Arc::new(function)))
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

/// Whether our kernels take this tensor: single precision on the CPU backend, with or without autodiff.
fn ours<const D: usize>(x: &Tensor<D>) -> bool {
    x.dtype() == DType::F32 && matches!(x.device().inner().as_dispatch(), DispatchDevice::Flex(_))
}

/// Whether the shapes fit together, and nothing is empty. The stock operation words the error if not.
fn conv_is_regular(
    x: &Tensor<4>,
    weight: &Tensor<4>,
    bias: Option<&Tensor<1>>,
    stride: usize,
    padding: [usize; 2],
) -> bool {
    let ([batch, channels, height, width], [channels_out, channels_in, kernel_h, kernel_w]) =
        (x.dims(), weight.dims());
    channels == channels_in
        && bias.is_none_or(|bias| bias.dims() == [channels_out])
        && [
            batch,
            channels,
            channels_out,
            height,
            width,
            kernel_h,
            kernel_w,
            stride,
        ]
        .iter()
        .all(|&size| size > 0)
        && kernel_h <= height + 2 * padding[0]
        && kernel_w <= width + 2 * padding[1]
}

/// As [`conv_is_regular`]: whether all shapes fit.
fn norm_is_regular(
    x: &Tensor<4>,
    gamma: &Tensor<1>,
    beta: &Tensor<1>,
    groups: usize,
    film: Option<&Film>,
) -> bool {
    let [batch, channels, ..] = x.dims();
    let film_fits = |film: &Film| {
        [&film.scale, &film.shift]
            .iter()
            .all(|f| ours(*f) && f.dims() == [batch, channels])
    };
    x.shape().num_elements() > 0
        && groups > 0
        && channels % groups == 0
        && [gamma, beta]
            .iter()
            .all(|p| ours(*p) && p.dims() == [channels])
        && film.is_none_or(film_fits)
}

/// As [`conv_is_regular`]: whether all shapes fit.
fn attention_is_regular(q: &Tensor<4>, k: &Tensor<4>, v: &Tensor<4>) -> bool {
    let ([batch, heads, _, dim], [_, _, context, _]) = (q.dims(), k.dims());
    [k, v]
        .iter()
        .all(|x| ours(*x) && x.dims() == [batch, heads, context, dim])
        && q.shape().num_elements() > 0
        && context > 0
}
