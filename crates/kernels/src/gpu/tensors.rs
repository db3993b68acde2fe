//! Tensors of the back end: their order in memory, and new ones.

use burn::backend::cubecl::dtype_to_elem_type;
use burn::backend::ops::FloatTensorOps;
use burn::backend::{DType, Shape, TensorMetadata};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::{empty_device_contiguous_dtype, zeros_client};
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::{AddressType, ElemType};

const LAST: [usize; 4] = [0, 2, 3, 1];
const FIRST: [usize; 4] = [0, 3, 1, 2];

pub(super) fn size(tensor: &CubeTensor) -> [usize; 4] {
    tensor.shape().dims()
}

/// Zeros next to another tensor, of its type.
pub(super) fn zeros(like: &CubeTensor, size: [usize; 4]) -> CubeTensor {
    let (client, device) = (like.client.clone(), like.device.clone());
    zeros_client(client, device, Shape::from(size), like.dtype)
}

/// A tensor without values, in order and without gaps.
pub(super) fn empty(like: &CubeTensor, shape: impl Into<Shape>, dtype: DType) -> CubeTensor {
    let (client, device) = (like.client.clone(), like.device.clone());
    empty_device_contiguous_dtype(client, device, shape.into(), dtype)
}

/// A map `[batch, channels, height, width]` as `[batch, height, width, channels]`, in order and
/// without gaps.
pub(super) fn channels_last(map: CubeTensor) -> CubeTensor {
    into_contiguous(CubeBackend::float_permute(map, &LAST))
}

/// The reverse of [`channels_last`], without a copy.
pub(super) fn as_map(rows: CubeTensor) -> CubeTensor {
    CubeBackend::float_permute(rows, &FIRST)
}

/// Tensors of the same extents in the order in which the first lies in memory; copied where they
/// are not.
pub(super) fn in_order_of_first<const N: usize>(tensors: [CubeTensor; N]) -> [CubeTensor; N] {
    let first = &tensors[0];
    let dense = first.is_nonoverlapping() && span(first) == first.shape().num_elements();
    let strides = first.meta.strides().clone();
    match dense
        && tensors
            .iter()
            .all(|tensor| *tensor.meta.strides() == strides)
    {
        true => tensors,
        false if dense => tensors.map(|tensor| laid_out(tensor, &strides)),
        false => tensors.map(into_contiguous),
    }
}

/// A new tensor without values that lies in memory as this one does.
pub(super) fn empty_like(tensor: &CubeTensor, dtype: DType) -> CubeTensor {
    let mut new = empty(tensor, tensor.shape(), dtype);
    new.meta = tensor.meta.clone();
    new
}

/// Elements from the first to the last in memory.
fn span(tensor: &CubeTensor) -> usize {
    let extents = tensor.meta.shape().iter().zip(tensor.meta.strides().iter());
    1 + extents
        .map(|(&extent, &stride)| (extent.max(1) - 1) * stride)
        .sum::<usize>()
}

/// The tensor copied so that it has these strides, which leave no gaps.
fn laid_out(tensor: CubeTensor, strides: &[usize]) -> CubeTensor {
    if tensor.meta.strides()[..] == *strides {
        return tensor;
    }
    let mut axes: Vec<usize> = (0..strides.len()).collect();
    axes.sort_by_key(|&axis| std::cmp::Reverse((strides[axis], tensor.meta.shape()[axis])));
    let mut back = vec![0; axes.len()];
    for (place, &axis) in axes.iter().enumerate() {
        back[axis] = place;
    }
    let sorted = into_contiguous(CubeBackend::float_permute(tensor, &axes));
    CubeBackend::float_permute(sorted, &back)
}

pub(super) fn cast(tensor: CubeTensor, dtype: DType) -> CubeTensor {
    match tensor.dtype == dtype {
        true => tensor,
        false => CubeBackend::float_cast(tensor, dtype.into()),
    }
}

/// A type in the form that kernels take.
pub(super) fn elem(dtype: DType) -> ElemType {
    dtype_to_elem_type(dtype)
}

/// The type of indices into a tensor.
pub(super) fn address(tensor: &CubeTensor) -> AddressType {
    AddressType::from_len(tensor.shape().num_elements())
}
