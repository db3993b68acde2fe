//! Which tensors our implementations take.

use crate::options::Film;
use burn::backend::DispatchDevice;
use burn::tensor::{DType, FloatDType, Tensor};

/// A parameter rounded to the type in which a network computes.
pub(crate) fn as_type_of<const D: usize, const E: usize>(
    x: &Tensor<D>,
    parameter: Tensor<E>,
) -> Tensor<E> {
    match parameter.dtype() == x.dtype() {
        true => parameter,
        false if in_blocks(&parameter) => as_type_of(x, parameter.dequantize()),
        false => parameter.cast(FloatDType::from(x.dtype())),
    }
}

/// Whether our implementations take this tensor: single precision on the CPU, with or without
/// autodiff; half precision too on GPUs.
pub(crate) fn supported<const D: usize>(x: &Tensor<D>) -> bool {
    match x.dtype() {
        DType::F32 => true,
        DType::BF16 | DType::F16 => on_gpu(x),
        _ => false,
    }
}

/// Whether a weight is stored in one of the types of floats that our CPU kernels read.
pub(crate) fn floats_of_16_or_32_bits<const D: usize>(weight: &Tensor<D>) -> bool {
    matches!(weight.dtype(), DType::F32 | DType::BF16 | DType::F16)
}

/// Whether a product of these is recorded for a backward pass.
pub(crate) fn has_graph<const D: usize, const E: usize>(x: &Tensor<D>, weight: &Tensor<E>) -> bool {
    x.is_autodiff() || weight.is_autodiff()
}

/// Whether a weight is stored in the blocks of [`crate::q8`].
pub(crate) fn in_blocks<const D: usize>(weight: &Tensor<D>) -> bool {
    matches!(weight.dtype(), DType::QFloat(_))
}

/// Whether a tensor lies on a device of the CubeCL back end.
pub(crate) fn on_gpu<const D: usize>(x: &Tensor<D>) -> bool {
    !matches!(x.device().inner().as_dispatch(), DispatchDevice::Flex(_))
}

/// Whether FiLM of this type fits a map: of its own type, or in f32.
fn film_type(x: &Tensor<4>, film: &Tensor<2>) -> bool {
    (film.dtype() == x.dtype() || film.dtype() == DType::F32) && on_gpu(film) == on_gpu(x)
}

/// Whether two tensors have the same type and lie on the same kind of device.
pub(crate) fn alike<const D: usize, const E: usize>(x: &Tensor<D>, y: &Tensor<E>) -> bool {
    x.dtype() == y.dtype() && on_gpu(x) == on_gpu(y)
}

/// Whether the shapes fit together, and nothing is empty. The stock operation words the error if
/// not.
pub(crate) fn conv_is_regular(
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
pub(crate) fn norm_is_regular(
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
pub(crate) fn attention_is_regular(q: &Tensor<4>, k: &Tensor<4>, v: &Tensor<4>) -> bool {
    let ([batch, heads, _, dim], [_, _, context, _]) = (q.dims(), k.dims());
    [k, v]
        .iter()
        .all(|x| alike(q, x) && x.dims() == [batch, heads, context, dim])
        && q.shape().num_elements() > 0
        && context > 0
}
