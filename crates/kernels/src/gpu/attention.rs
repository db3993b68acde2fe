//! Attention as products and a softmax, some queries at a time, so that no more than a part of the
//! table of scores is ever in memory. The backward pass computes the scores again.

use super::cubes;
use super::reduce::{Scratch, cube_max, cube_sum};
use super::tensors::{empty, size};
use crate::backend::AttentionSaved;
use crate::memory::queries_at_once;
use burn::backend::cubecl::dtype_to_elem_type;
use burn::backend::ops::FloatTensorOps;
use burn::backend::{DType, Shape, Slice, TensorMetadata};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::RuntimeId;
use cubecl::ir::AddressType;
use cubecl::prelude::*;

/// Units of a cube; one cube does one query.
const UNITS: usize = 128;

/// Output, and the logarithm of each query's sum of exponentials.
pub(super) fn forward([q, k, v]: [CubeTensor; 3]) -> (CubeTensor, CubeTensor) {
    let keys = transposed(k);
    let parts = parts(&q, &keys).map(|(start, count)| {
        let scores = product(rows(&q, start, count), keys.clone(), DType::F32);
        let (shares, sums) = softmax(scores, size(&q)[3], q.dtype);
        (product(shares, v.clone(), q.dtype), sums)
    });
    let (outputs, sums) = parts.unzip();
    (joined(outputs), joined(sums))
}

/// With P the softmax and S the scores: dV = Pᵀ dO, dS = P ∘ (dO Vᵀ − Σ dO ∘ O), dQ = dS K, dK =
/// dSᵀ Q.
pub(super) fn backward(saved: AttentionSaved<CubeBackend>, dy: CubeTensor) -> [CubeTensor; 3] {
    let [q, k, v] = saved.inputs;
    let dtype = q.dtype;
    let (keys, values) = (transposed(k.clone()), transposed(v));
    let (mut dq, mut dk, mut dv) = (vec![], None, None);
    for (start, count) in parts(&q, &keys) {
        let [q, dy, y, sums] =
            [&q, &dy, &saved.output, &saved.statistics].map(|tensor| rows(tensor, start, count));
        let scores = product(q.clone(), keys.clone(), DType::F32);
        let d_shares = product(dy.clone(), values.clone(), DType::F32);
        let [shares, d_scores] = softmax_grad(scores, d_shares, [&dy, &y], sums, dtype);
        add(&mut dv, product(transposed(shares), dy, dtype));
        add(&mut dk, product(transposed(d_scores.clone()), q, dtype));
        dq.push(product(d_scores, k.clone(), dtype));
    }
    let some = "there is at least one query";
    [joined(dq), dk.expect(some), dv.expect(some)]
}

/// First query and number of queries of each part.
fn parts(q: &CubeTensor, keys: &CubeTensor) -> impl Iterator<Item = (usize, usize)> + use<> {
    let ([batch, heads, tokens, _], [.., context]) = (size(q), size(keys));
    let is_cuda = q.device.runtime() == RuntimeId::Cuda;
    let most = queries_at_once(batch * heads, tokens, context, is_cuda);
    (0..tokens)
        .step_by(most)
        .map(move |start| (start, most.min(tokens - start)))
}

fn rows(tensor: &CubeTensor, start: usize, count: usize) -> CubeTensor {
    if start == 0 && count == size(tensor)[2] {
        return tensor.clone();
    }
    let [batch, heads, _, columns] = size(tensor);
    let all = |extent: usize| Slice::from(0..extent);
    let of_rows = Slice::from(start..start + count);
    let slices = [all(batch), all(heads), of_rows, all(columns)];
    CubeBackend::float_slice(tensor.clone(), &slices)
}

fn joined(parts: Vec<CubeTensor>) -> CubeTensor {
    match <[CubeTensor; 1]>::try_from(parts) {
        Ok([whole]) => whole,
        Err(parts) => CubeBackend::float_cat(parts, 2),
    }
}

fn add(sum: &mut Option<CubeTensor>, part: CubeTensor) {
    *sum = Some(match sum.take() {
        Some(sum) => CubeBackend::float_add(sum, part),
        None => part,
    });
}

fn transposed(tensor: CubeTensor) -> CubeTensor {
    CubeBackend::float_swap_dims(tensor, 2, 3)
}

fn product(a: CubeTensor, b: CubeTensor, dtype: DType) -> CubeTensor {
    super::product(a, b, dtype)
}

fn softmax(scores: CubeTensor, dim: usize, dtype: DType) -> (CubeTensor, CubeTensor) {
    let [batch, heads, tokens, context] = size(&scores);
    let scores = into_contiguous(scores);
    let shares = empty(&scores, scores.shape(), dtype);
    let sums = empty(&scores, [batch, heads, tokens, 1], DType::F32);
    let client = scores.client.clone();
    softmax_rows::launch(
        &client,
        cubes(batch * heads * tokens),
        CubeDim::new_1d(UNITS as u32),
        address(scores.shape()),
        scores.into_buffer_arg(),
        shares.clone().into_buffer_arg(),
        sums.clone().into_buffer_arg(),
        context as u32,
        (batch * heads * tokens) as u32,
        1.0 / (dim as f32).sqrt(),
        UNITS,
        dtype_to_elem_type(DType::F32),
        dtype_to_elem_type(dtype),
    );
    (shares, sums)
}

/// The shares again, and the gradient of the scores.
fn softmax_grad(
    scores: CubeTensor,
    d_shares: CubeTensor,
    [dy, y]: [&CubeTensor; 2],
    sums: CubeTensor,
    dtype: DType,
) -> [CubeTensor; 2] {
    let [batch, heads, tokens, context] = size(&scores);
    let dim = size(y)[3];
    let [scores, d_shares, sums] = [scores, d_shares, sums].map(into_contiguous);
    let [dy, y] = [dy, y].map(|tensor| into_contiguous(tensor.clone()));
    let outputs = [(); 2].map(|()| empty(&scores, scores.shape(), dtype));
    let client = scores.client.clone();
    softmax_rows_grad::launch(
        &client,
        cubes(batch * heads * tokens),
        CubeDim::new_1d(UNITS as u32),
        address(scores.shape()),
        scores.into_buffer_arg(),
        d_shares.into_buffer_arg(),
        dy.into_buffer_arg(),
        y.into_buffer_arg(),
        sums.into_buffer_arg(),
        outputs[0].clone().into_buffer_arg(),
        outputs[1].clone().into_buffer_arg(),
        context as u32,
        dim as u32,
        (batch * heads * tokens) as u32,
        1.0 / (dim as f32).sqrt(),
        UNITS,
        dtype_to_elem_type(DType::F32),
        dtype_to_elem_type(dtype),
    );
    outputs
}

fn address(shape: Shape) -> AddressType {
    AddressType::from_len(shape.num_elements())
}

/// softmax(scale · row) of every row, and the logarithm of its sum of exponentials.
#[cube(launch, address_type = "dynamic")]
fn softmax_rows<S: Float, F: Float>(
    scores: &[S],
    shares: &mut [F],
    sums: &mut [f32],
    context: u32,
    rows: u32,
    scale: f32,
    #[comptime] units: usize,
    #[define(S)] _s: ElemType,
    #[define(F)] _f: ElemType,
) {
    let row = CUBE_POS_Y as usize * CUBE_COUNT_X as usize + CUBE_POS_X as usize;
    let (unit, context) = (UNIT_POS as usize, context as usize);
    if row >= rows as usize {
        terminate!();
    }
    let start = row * context;
    let mut shared = Scratch::new_slice(units);

    let mut largest = f32::cast_from(scores[start]);
    let mut i = unit;
    while i < context {
        let value = f32::cast_from(scores[start + i]);
        if value > largest {
            largest = value;
        }
        i += units;
    }
    let largest = cube_max(largest, &mut shared, units);
    let mut sum = 0f32;
    let mut i = unit;
    while i < context {
        sum += f32::exp((f32::cast_from(scores[start + i]) - largest) * scale);
        i += units;
    }
    let sum = cube_sum(sum, &mut shared, units);
    if unit == 0 {
        sums[row] = largest * scale + f32::ln(sum);
    }
    let mut i = unit;
    while i < context {
        let share = f32::exp((f32::cast_from(scores[start + i]) - largest) * scale) / sum;
        shares[start + i] = F::cast_from(share);
        i += units;
    }
}

/// The shares from scores and sums, and the gradient of the scores from that of the shares.
#[cube(launch, address_type = "dynamic")]
fn softmax_rows_grad<S: Float, F: Float>(
    scores: &[S],
    d_shares: &[S],
    dy: &[F],
    y: &[F],
    sums: &[f32],
    shares: &mut [F],
    d_scores: &mut [F],
    context: u32,
    dim: u32,
    rows: u32,
    scale: f32,
    #[comptime] units: usize,
    #[define(S)] _s: ElemType,
    #[define(F)] _f: ElemType,
) {
    let row = CUBE_POS_Y as usize * CUBE_COUNT_X as usize + CUBE_POS_X as usize;
    let (unit, context, dim) = (UNIT_POS as usize, context as usize, dim as usize);
    if row >= rows as usize {
        terminate!();
    }
    let mut shared = Scratch::new_slice(units);
    let mut dot = 0f32;
    let mut i = unit;
    while i < dim {
        dot += f32::cast_from(dy[row * dim + i]) * f32::cast_from(y[row * dim + i]);
        i += units;
    }
    let dot = cube_sum(dot, &mut shared, units);
    let sum = sums[row];
    let start = row * context;
    let mut i = unit;
    while i < context {
        let share = f32::exp(f32::cast_from(scores[start + i]) * scale - sum);
        let d_share = f32::cast_from(d_shares[start + i]);
        shares[start + i] = F::cast_from(share);
        d_scores[start + i] = F::cast_from(share * (d_share - dot) * scale);
        i += units;
    }
}
