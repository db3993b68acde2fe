//! The forward pass.

use super::super::reduce::over_lanes;
use super::super::tensors::{address, as_map, channels_last, elem, empty};
use super::{Extents, Split, sigmoid, sum_over_parts};
use crate::backend::NormInputs;
use crate::options::NormOptions;
use burn::backend::{DType, TensorMetadata};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::ElemType;
use cubecl::prelude::*;

pub(in crate::gpu) fn forward(
    inputs: NormInputs<CubeBackend>,
    options: NormOptions,
) -> (CubeTensor, CubeTensor) {
    let extents = Extents::new(&inputs.x, options.groups);
    let split = Split::new(&inputs.x, extents.per_group());
    let x = channels_last(inputs.x);
    let y = empty(&x, x.shape(), x.dtype);
    let statistics = empty(&x, [extents.batch, options.groups, 2], DType::F32);
    let [gamma, beta] = [inputs.gamma, inputs.beta].map(into_contiguous);
    let film = inputs.film.map(|film| film.map(into_contiguous));
    // Without FiLM its places are taken by tensors that nobody reads.
    let film_given = film.is_some();
    let [scale, shift] = film.unwrap_or_else(|| [x.clone(), x.clone()]);
    let client = x.client.clone();
    let types = (x.dtype, gamma.dtype, scale.dtype);
    norm_forward::launch(
        &client,
        extents.cubes(),
        CubeDim::new_1d(split.units()),
        address(&x),
        split.vector,
        x.into_buffer_arg(),
        gamma.into_buffer_arg(),
        beta.into_buffer_arg(),
        scale.into_buffer_arg(),
        shift.into_buffer_arg(),
        y.clone().into_buffer_arg(),
        statistics.clone().into_buffer_arg(),
        extents.channels as u32,
        extents.area as u32,
        options.eps as f32,
        split.parts,
        split.lanes,
        options.silu,
        film_given,
        elem(types.0),
        elem(types.1),
        elem(types.2),
    );
    (as_map(y), statistics)
}

#[cube(launch, address_type = "dynamic")]
fn norm_forward<F: Float, G: Float, E: Float, N: Size>(
    x: &[Vector<F, N>],
    gamma: &[Vector<G, N>],
    beta: &[Vector<G, N>],
    scale: &[Vector<E, N>],
    shift: &[Vector<E, N>],
    y: &mut [Vector<F, N>],
    statistics: &mut [f32],
    channels: u32,
    area: u32,
    eps: f32,
    #[comptime] parts: usize,
    #[comptime] lanes: usize,
    #[comptime] silu: bool,
    #[comptime] film: bool,
    #[define(F)] _f: ElemType,
    #[define(G)] _g: ElemType,
    #[define(E)] _e: ElemType,
) {
    let unit = UNIT_POS as usize;
    let (part, lane) = (unit % parts, unit / parts);
    let (group, image) = (CUBE_POS_X as usize, CUBE_POS_Y as usize);
    let row = channels as usize / N::value();
    let area = area as usize;
    let start = image * area * row + group * parts + part;
    let count = (area * parts * N::value()) as f32;
    let mut shared = Shared::<[Vector<f32, N>]>::new_slice(comptime!(parts * lanes));

    let mut sum = Vector::<f32, N>::new(0f32);
    let mut position = lane;
    while position < area {
        sum += Vector::<f32, N>::cast_from(x[start + position * row]);
        position += lanes;
    }
    over_lanes::<N>(sum, &mut shared, parts, lanes, false);
    let mean = sum_over_parts::<N>(&shared, parts) / count;
    let mean_vector = Vector::<f32, N>::new(mean);

    let mut squares = Vector::<f32, N>::new(0f32);
    let mut position = lane;
    while position < area {
        let centred = Vector::<f32, N>::cast_from(x[start + position * row]) - mean_vector;
        squares += centred * centred;
        position += lanes;
    }
    over_lanes::<N>(squares, &mut shared, parts, lanes, false);
    let variance = sum_over_parts::<N>(&shared, parts) / count;
    let r = 1f32 / f32::sqrt(variance + eps);
    let r_vector = Vector::<f32, N>::new(r);
    if unit == 0 {
        let index = (image * CUBE_COUNT_X as usize + group) * 2;
        statistics[index] = mean;
        statistics[index + 1] = r;
    }

    let channel = group * parts + part;
    let mut a = Vector::<f32, N>::cast_from(gamma[channel]) * r_vector;
    let mut b = Vector::<f32, N>::cast_from(beta[channel]);
    if film {
        let of_image = image * row + channel;
        let one = Vector::<f32, N>::new(1f32);
        let factor = one + Vector::<f32, N>::cast_from(scale[of_image]);
        a *= factor;
        b = b * factor + Vector::<f32, N>::cast_from(shift[of_image]);
    }
    let mut position = lane;
    while position < area {
        let index = start + position * row;
        let m = (Vector::<f32, N>::cast_from(x[index]) - mean_vector) * a + b;
        if silu {
            y[index] = Vector::cast_from(m * sigmoid::<N>(m));
        } else {
            y[index] = Vector::cast_from(m);
        }
        position += lanes;
    }
}
