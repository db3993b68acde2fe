//! The backward pass: the gradient of the map, with sums for each image and channel, and from these
//! the gradients of the parameters.

use super::super::reduce::{Scratch, cube_sum, over_lanes};
use super::super::tensors::{address, as_map, channels_last, elem, empty};
use super::{Extents, Split, UNITS, sigmoid, sum_over_parts};
use crate::backend::{NormGradients, NormInputs};
use crate::options::NormOptions;
use burn::backend::{DType, TensorMetadata};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::ElemType;
use cubecl::prelude::*;

pub(in crate::gpu) fn backward(
    inputs: NormInputs<CubeBackend>,
    statistics: CubeTensor,
    dy: CubeTensor,
    options: NormOptions,
) -> NormGradients<CubeBackend> {
    let extents = Extents::new(&inputs.x, options.groups);
    let split = Split::new(&inputs.x, extents.per_group());
    let (x, dy) = (channels_last(inputs.x), channels_last(dy));
    let dx = empty(&x, x.shape(), x.dtype);
    let per_sample = [extents.batch, extents.channels];
    let sums = [(); 2].map(|()| empty(&x, per_sample, DType::F32));
    let [gamma, beta] = [inputs.gamma, inputs.beta].map(into_contiguous);
    let film = inputs.film.map(|film| film.map(into_contiguous));
    let film_given = film.is_some();
    let [scale, shift] = film.unwrap_or_else(|| [x.clone(), x.clone()]);
    let client = x.client.clone();
    norm_backward::launch(
        &client,
        extents.cubes(),
        CubeDim::new_1d(split.units()),
        address(&x),
        split.vector,
        x.clone().into_buffer_arg(),
        dy.into_buffer_arg(),
        gamma.clone().into_buffer_arg(),
        beta.clone().into_buffer_arg(),
        scale.clone().into_buffer_arg(),
        shift.into_buffer_arg(),
        statistics.into_buffer_arg(),
        dx.clone().into_buffer_arg(),
        sums[0].clone().into_buffer_arg(),
        sums[1].clone().into_buffer_arg(),
        extents.channels as u32,
        extents.area as u32,
        split.parts,
        split.lanes,
        options.silu,
        film_given,
        elem(x.dtype),
        elem(gamma.dtype),
        elem(scale.dtype),
    );
    let [d_gamma, d_beta] = [(); 2].map(|()| empty(&x, [extents.channels], gamma.dtype));
    let film = film_given.then(|| [(); 2].map(|()| empty(&x, per_sample, scale.dtype)));
    // Without FiLM nobody writes to these.
    let unused = || [(); 2].map(|()| empty(&x, [1], DType::F32));
    let [d_scale, d_shift] = film.clone().unwrap_or_else(unused);
    let units = UNITS.min(extents.batch.next_power_of_two());
    let [plain, normalised] = sums;
    let types = (gamma.dtype, scale.dtype, d_scale.dtype);
    norm_parameters::launch(
        &client,
        CubeCount::Static(extents.channels as u32, 1, 1),
        CubeDim::new_1d(units as u32),
        plain.into_buffer_arg(),
        normalised.into_buffer_arg(),
        gamma.into_buffer_arg(),
        beta.into_buffer_arg(),
        scale.into_buffer_arg(),
        d_gamma.clone().into_buffer_arg(),
        d_beta.clone().into_buffer_arg(),
        d_scale.into_buffer_arg(),
        d_shift.into_buffer_arg(),
        extents.channels as u32,
        extents.batch as u32,
        units,
        film_given,
        elem(types.0),
        elem(types.1),
        elem(types.2),
    );
    NormGradients {
        x: as_map(dx),
        gamma: d_gamma,
        beta: d_beta,
        film,
    }
}

#[cube(launch, address_type = "dynamic")]
fn norm_backward<F: Float, G: Float, E: Float, N: Size>(
    x: &[Vector<F, N>],
    dy: &[Vector<F, N>],
    gamma: &[Vector<G, N>],
    beta: &[Vector<G, N>],
    scale: &[Vector<E, N>],
    shift: &[Vector<E, N>],
    statistics: &[f32],
    dx: &mut [Vector<F, N>],
    plain: &mut [Vector<f32, N>],
    normalised: &mut [Vector<f32, N>],
    channels: u32,
    area: u32,
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

    let index = (image * CUBE_COUNT_X as usize + group) * 2;
    let mean = Vector::<f32, N>::new(statistics[index]);
    let r = Vector::<f32, N>::new(statistics[index + 1]);
    let channel = group * parts + part;
    let of_image = image * row + channel;
    let one = Vector::<f32, N>::new(1f32);
    // m = u a + b, and the gradient of u is that of m times a.
    let mut a = Vector::<f32, N>::cast_from(gamma[channel]);
    let mut b = Vector::<f32, N>::cast_from(beta[channel]);
    if film {
        let factor = one + Vector::<f32, N>::cast_from(scale[of_image]);
        a *= factor;
        b = b * factor + Vector::<f32, N>::cast_from(shift[of_image]);
    }

    let mut sum = Vector::<f32, N>::new(0f32);
    let mut sum_u = Vector::<f32, N>::new(0f32);
    let mut position = lane;
    while position < area {
        let index = start + position * row;
        let u = (Vector::<f32, N>::cast_from(x[index]) - mean) * r;
        let mut dm = Vector::<f32, N>::cast_from(dy[index]);
        if silu {
            let m = u * a + b;
            let s = sigmoid::<N>(m);
            dm *= s * (one + m * (one - s));
        }
        sum += dm;
        sum_u += dm * u;
        position += lanes;
    }
    // The sums of a channel, then those of the group.
    over_lanes::<N>(sum, &mut shared, parts, lanes, false);
    let of_channel = shared[part];
    if lane == 0 {
        plain[of_image] = of_channel;
    }
    over_lanes::<N>(sum_u, &mut shared, parts, lanes, false);
    let of_channel_u = shared[part];
    if lane == 0 {
        normalised[of_image] = of_channel_u;
    }
    sync_cube();
    if lane == 0 {
        shared[part] = of_channel * a;
    }
    sync_cube();
    let mean_du = Vector::<f32, N>::new(sum_over_parts::<N>(&shared, parts) / count);
    sync_cube();
    if lane == 0 {
        shared[part] = of_channel_u * a;
    }
    sync_cube();
    let mean_du_u = Vector::<f32, N>::new(sum_over_parts::<N>(&shared, parts) / count);

    let mut position = lane;
    while position < area {
        let index = start + position * row;
        let u = (Vector::<f32, N>::cast_from(x[index]) - mean) * r;
        let mut dm = Vector::<f32, N>::cast_from(dy[index]);
        if silu {
            let m = u * a + b;
            let s = sigmoid::<N>(m);
            dm *= s * (one + m * (one - s));
        }
        dx[index] = Vector::cast_from(r * (dm * a - mean_du - u * mean_du_u));
        position += lanes;
    }
}

/// From the sums Σ dm and Σ dm u of each image and channel to the gradients of the parameters; one
/// cube for each channel.
#[cube(launch)]
fn norm_parameters<G: Float, E: Float, D: Float>(
    plain: &[f32],
    normalised: &[f32],
    gamma: &[G],
    beta: &[G],
    scale: &[E],
    d_gamma: &mut [G],
    d_beta: &mut [G],
    d_scale: &mut [D],
    d_shift: &mut [D],
    channels: u32,
    batch: u32,
    #[comptime] units: usize,
    #[comptime] film: bool,
    #[define(G)] _g: ElemType,
    #[define(E)] _e: ElemType,
    #[define(D)] _d: ElemType,
) {
    let (channel, unit) = (CUBE_POS_X as usize, UNIT_POS as usize);
    let (channels, batch) = (channels as usize, batch as usize);
    let (of_gamma, of_beta) = (
        f32::cast_from(gamma[channel]),
        f32::cast_from(beta[channel]),
    );
    let mut sum = 0f32;
    let mut sum_u = 0f32;
    let mut image = unit;
    while image < batch {
        let index = image * channels + channel;
        let (a, b) = (plain[index], normalised[index]);
        if film {
            let factor = 1f32 + f32::cast_from(scale[index]);
            d_scale[index] = D::cast_from(of_gamma * b + of_beta * a);
            d_shift[index] = D::cast_from(a);
            sum += factor * a;
            sum_u += factor * b;
        } else {
            sum += a;
            sum_u += b;
        }
        image += units;
    }
    let mut shared = Scratch::new_slice(units);
    let sum = cube_sum(sum, &mut shared, units);
    let sum_u = cube_sum(sum_u, &mut shared, units);
    if unit == 0 {
        d_beta[channel] = G::cast_from(sum);
        d_gamma[channel] = G::cast_from(sum_u);
    }
}
