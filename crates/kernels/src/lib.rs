//! The operations in which a diffusion network spends its time: convolution, group normalisation
//! (with FiLM and SiLU), attention and products; and the devices that they run on.
//!
//! A network calls these functions and nothing else; which implementation runs is decided here, by the device
//! and the type of the tensors.

mod autodiff;
mod backend;
mod cpu;

pub mod device;
mod extension;
mod flex;
#[cfg(feature = "gpu")]
mod gpu;
mod lanes;
pub mod maps;
pub mod memory;
mod precision;
mod reference;
pub mod update;

pub use burn::backend::DispatchTensor;
pub use lanes::in_lanes;
pub use precision::allow_tf32;

use burn::backend::{Dispatch, DispatchDevice};
use burn::tensor::{DType, FloatDType, Tensor};
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
    let ours = supported(&x)
        && on_gpu(&weight) == on_gpu(&x)
        && conv_is_regular(&x, &weight, bias.as_ref(), stride, padding);
    // Our kernels of CPUs know one type, those of GPUs round parameters themselves.
    let one_type = weight.dtype() == x.dtype() || on_gpu(&x);
    if !(ours && one_type) {
        let (weight, bias) = (
            as_type_of(&x, weight),
            bias.map(|bias| as_type_of(&x, bias)),
        );
        return reference::conv2d(x, weight, bias, stride, padding);
    }
    Tensor::from_dispatch(<Dispatch as KernelOps>::kernel_conv2d(
        x.into_dispatch(),
        weight.into_dispatch(),
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
    if !(on_gpu(&x) && on_gpu(&weight) && supported(&x) && fits && filled) {
        let (weight, bias) = (
            as_type_of(&x, weight),
            bias.map(|bias| as_type_of(&x, bias)),
        );
        return burn::tensor::module::linear(x, weight, bias);
    }
    let (rows, mut size) = (x.shape().num_elements() / from, size);
    let y = Tensor::<2>::from_dispatch(<Dispatch as KernelOps>::kernel_linear(
        x.reshape([rows, from]).into_dispatch(),
        weight.into_dispatch(),
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

/// A parameter rounded to the type in which a network computes.
fn as_type_of<const D: usize, const E: usize>(x: &Tensor<D>, parameter: Tensor<E>) -> Tensor<E> {
    match parameter.dtype() == x.dtype() {
        true => parameter,
        false => parameter.cast(FloatDType::from(x.dtype())),
    }
}

/// The value of a function of at least one tensor and at most 32, of any ranks. For the backward pass its inputs are
/// kept and nothing else: it is computed again there, so it must be a function of the inputs alone.
///
/// Gradient checkpointing by whole blocks (1604.06174). The inputs that are constants of the graph get no gradients.
pub fn recomputed(
    inputs: Vec<DispatchTensor>,
    function: impl Fn(Vec<DispatchTensor>) -> DispatchTensor + Send + Sync + 'static,
) -> DispatchTensor {
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

/// Whether our implementations take this tensor: single precision on the CPU, with or without autodiff; half
/// precision too on GPUs.
fn supported<const D: usize>(x: &Tensor<D>) -> bool {
    match x.dtype() {
        DType::F32 => true,
        DType::BF16 | DType::F16 => on_gpu(x),
        _ => false,
    }
}

/// Whether a tensor lies on a device of the CubeCL back end.
fn on_gpu<const D: usize>(x: &Tensor<D>) -> bool {
    !matches!(x.device().inner().as_dispatch(), DispatchDevice::Flex(_))
}

/// Whether FiLM of this type fits a map: of its own type, or in f32.
fn film_type(x: &Tensor<4>, film: &Tensor<2>) -> bool {
    (film.dtype() == x.dtype() || film.dtype() == DType::F32) && on_gpu(film) == on_gpu(x)
}

/// Whether two tensors have the same type and lie on the same kind of device.
fn alike<const D: usize, const E: usize>(x: &Tensor<D>, y: &Tensor<E>) -> bool {
    x.dtype() == y.dtype() && on_gpu(x) == on_gpu(y)
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

/// Most channels of a group that our kernel of GPUs takes.
const MOST_PER_GROUP: usize = 256;

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
            .all(|f| film_type(x, f) && f.dims() == [batch, channels])
    };
    let film_is_of_one_type = |film: &Film| film.scale.dtype() == film.shift.dtype();
    x.shape().num_elements() > 0
        && groups > 0
        && channels % groups == 0
        && (!on_gpu(x) || channels / groups <= MOST_PER_GROUP)
        && film.is_none_or(film_is_of_one_type)
        && [gamma, beta]
            .iter()
            .all(|p| p.dtype() == DType::F32 && p.dims() == [channels])
        && film.is_none_or(film_fits)
}

/// As [`conv_is_regular`]: whether all shapes fit.
fn attention_is_regular(q: &Tensor<4>, k: &Tensor<4>, v: &Tensor<4>) -> bool {
    let ([batch, heads, _, dim], [_, _, context, _]) = (q.dims(), k.dims());
    [k, v]
        .iter()
        .all(|x| alike(q, x) && x.dims() == [batch, heads, context, dim])
        && q.shape().num_elements() > 0
        && context > 0
}
