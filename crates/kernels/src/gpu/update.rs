//! What moves parameters: one pass over memory for an update of Adam, an average, or a sum of
//! squares.

use super::cubes;
use super::reduce::{Scratch, cube_sum};
use super::tensors::{empty, empty_like, in_order_of_first};
use crate::options::{AdamStep, Decay};
use burn::backend::cubecl::dtype_to_elem_type;
use burn::backend::{DType, TensorMetadata};
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::AddressType;
use cubecl::prelude::*;

const UNITS: usize = 256;

/// Partial sums of squares for each tensor.
const PIECES: usize = 64;

/// Parameter and moments after an update, from parameter, gradient and moments.
pub(super) fn adam(tensors: [CubeTensor; 4], step: AdamStep) -> [CubeTensor; 3] {
    // In the order of the gradient, which is that of the kernels that made it.
    let [parameter, gradient, moment_1, moment_2] = tensors;
    let [gradient, parameter, moment_1, moment_2] =
        in_order_of_first([gradient, parameter, moment_1, moment_2]);
    let results = [(); 3].map(|()| empty_like(&gradient, DType::F32));
    let count = parameter.shape().num_elements();
    let client = parameter.client.clone();
    let coupled = match step.decay {
        Decay::Coupled(decay) => decay,
        Decay::Decoupled(_) => 0.0,
    };
    let kept = match step.decay {
        Decay::Coupled(_) => 1.0,
        Decay::Decoupled(decay) => 1.0 - step.lr * decay,
    };
    adam_kernel::launch(
        &client,
        cubes(count.div_ceil(UNITS)),
        CubeDim::new_1d(UNITS as u32),
        AddressType::from_len(count),
        parameter.into_buffer_arg(),
        gradient.into_buffer_arg(),
        moment_1.into_buffer_arg(),
        moment_2.into_buffer_arg(),
        results[0].clone().into_buffer_arg(),
        results[1].clone().into_buffer_arg(),
        results[2].clone().into_buffer_arg(),
        count as u32,
        step.beta[0],
        step.beta[1],
        step.correction[0],
        step.correction[1],
        step.epsilon,
        step.lr,
        coupled,
        kept,
    );
    results
}

/// `a` + (`b` − `a`) `share`.
pub(super) fn mix(a: CubeTensor, b: CubeTensor, share: f32) -> CubeTensor {
    let [b, a] = in_order_of_first([b, a]);
    let result = empty_like(&b, a.dtype);
    let count = a.shape().num_elements();
    let client = a.client.clone();
    let dtype = dtype_to_elem_type(a.dtype);
    mix_kernel::launch(
        &client,
        cubes(count.div_ceil(UNITS)),
        CubeDim::new_1d(UNITS as u32),
        AddressType::from_len(count),
        a.into_buffer_arg(),
        b.into_buffer_arg(),
        result.clone().into_buffer_arg(),
        count as u32,
        share,
        dtype,
    );
    result
}

/// x σ(x).
pub(super) fn silu(x: CubeTensor) -> CubeTensor {
    let [x] = in_order_of_first([x]);
    let y = empty_like(&x, x.dtype);
    launch_silu([x.clone(), x], y, false)
}

/// The gradient of x σ(x): σ(x) (1 + x (1 − σ(x))) dy.
pub(super) fn silu_grad(x: CubeTensor, dy: CubeTensor) -> CubeTensor {
    let [x, dy] = in_order_of_first([x, dy]);
    let dx = empty_like(&x, x.dtype);
    launch_silu([x, dy], dx, true)
}

fn launch_silu([x, dy]: [CubeTensor; 2], result: CubeTensor, gradient: bool) -> CubeTensor {
    let count = x.shape().num_elements();
    let (client, dtype) = (x.client.clone(), dtype_to_elem_type(x.dtype));
    silu_kernel::launch(
        &client,
        cubes(count.div_ceil(UNITS)),
        CubeDim::new_1d(UNITS as u32),
        AddressType::from_len(count),
        x.into_buffer_arg(),
        dy.into_buffer_arg(),
        result.clone().into_buffer_arg(),
        count as u32,
        gradient,
        dtype,
    );
    result
}

#[cube(launch, address_type = "dynamic")]
fn silu_kernel<F: Float>(
    x: &[F],
    dy: &[F],
    result: &mut [F],
    count: u32,
    #[comptime] gradient: bool,
    #[define(F)] _f: ElemType,
) {
    let i = ABSOLUTE_POS;
    if i >= count as usize {
        terminate!();
    }
    let value = f32::cast_from(x[i]);
    let sigmoid = 1f32 / (1f32 + f32::exp(0f32 - value));
    if gradient {
        let slope = sigmoid * (1f32 + value * (1f32 - sigmoid));
        result[i] = F::cast_from(f32::cast_from(dy[i]) * slope);
    } else {
        result[i] = F::cast_from(value * sigmoid);
    }
}

/// The sum of the squares of all elements of all tensors, `[1]`.
pub(super) fn squared_norm(tensors: Vec<CubeTensor>) -> CubeTensor {
    let partial = empty(&tensors[0], [tensors.len(), PIECES], DType::F32);
    let client = partial.client.clone();
    let count = tensors.len();
    for (row, tensor) in tensors.into_iter().enumerate() {
        let [tensor] = in_order_of_first([tensor]);
        let (count, dtype) = (tensor.shape().num_elements(), tensor.dtype);
        squares_kernel::launch(
            &client,
            CubeCount::Static(PIECES as u32, 1, 1),
            CubeDim::new_1d(UNITS as u32),
            AddressType::from_len(count),
            tensor.into_buffer_arg(),
            partial.clone().into_buffer_arg(),
            count as u32,
            (row * PIECES) as u32,
            UNITS,
            true,
            dtype_to_elem_type(dtype),
        );
    }
    let sum = empty(&partial, [1], DType::F32);
    squares_kernel::launch(
        &client,
        CubeCount::Static(1, 1, 1),
        CubeDim::new_1d(UNITS as u32),
        AddressType::U32,
        partial.into_buffer_arg(),
        sum.clone().into_buffer_arg(),
        (count * PIECES) as u32,
        0,
        UNITS,
        false,
        dtype_to_elem_type(DType::F32),
    );
    sum
}

#[cube(launch, address_type = "dynamic")]
fn adam_kernel(
    parameter: &[f32],
    gradient: &[f32],
    moment_1: &[f32],
    moment_2: &[f32],
    new_parameter: &mut [f32],
    new_moment_1: &mut [f32],
    new_moment_2: &mut [f32],
    count: u32,
    beta_1: f32,
    beta_2: f32,
    correction_1: f32,
    correction_2: f32,
    epsilon: f32,
    lr: f32,
    coupled: f32,
    kept: f32,
) {
    let i = ABSOLUTE_POS;
    if i >= count as usize {
        terminate!();
    }
    let value = parameter[i];
    let g = gradient[i] + coupled * value;
    let m = beta_1 * moment_1[i] + (1f32 - beta_1) * g;
    let v = beta_2 * moment_2[i] + (1f32 - beta_2) * g * g;
    let delta = (m / correction_1) / (f32::sqrt(v / correction_2) + epsilon);
    new_moment_1[i] = m;
    new_moment_2[i] = v;
    new_parameter[i] = kept * value - lr * delta;
}

#[cube(launch, address_type = "dynamic")]
fn mix_kernel<F: Float>(
    a: &[F],
    b: &[F],
    result: &mut [F],
    count: u32,
    share: f32,
    #[define(F)] _f: ElemType,
) {
    let i = ABSOLUTE_POS;
    if i >= count as usize {
        terminate!();
    }
    let (from, to) = (f32::cast_from(a[i]), f32::cast_from(b[i]));
    result[i] = F::cast_from(from + (to - from) * share);
}

/// Every cube writes the sum of its share of the values, squared on request.
#[cube(launch, address_type = "dynamic")]
fn squares_kernel<F: Float>(
    values: &[F],
    sums: &mut [f32],
    count: u32,
    first: u32,
    #[comptime] units: usize,
    #[comptime] squared: bool,
    #[define(F)] _f: ElemType,
) {
    let unit = UNIT_POS as usize;
    let stride = units * CUBE_COUNT_X as usize;
    let mut sum = 0f32;
    let mut i = CUBE_POS_X as usize * units + unit;
    while i < count as usize {
        let value = f32::cast_from(values[i]);
        if squared {
            sum += value * value;
        } else {
            sum += value;
        }
        i += stride;
    }
    let mut shared = Scratch::new_slice(units);
    let sum = cube_sum(sum, &mut shared, units);
    if unit == 0 {
        sums[first as usize + CUBE_POS_X as usize] = sum;
    }
}
