//! Tables `[rows, channels]`, which maps and batches of tokens are: sums of rows, and a row added
//! to all.

use super::cubes;
use super::tensors::{address, channels_last, elem, empty, size};
use burn::backend::{DType, TensorMetadata};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

/// Units of a cube.
const UNITS: usize = 256;

/// The sum of a map over images and positions, `[channels]`.
pub(super) fn sum_per_channel(map: CubeTensor, dtype: DType) -> CubeTensor {
    let [batch, channels, height, width] = size(&map);
    let rows = batch * height * width;
    sum_of_rows(channels_last(map), [rows, channels], dtype)
}

/// The sum of the rows of a table, `[channels]`.
pub(super) fn sum_of_rows(
    map: CubeTensor,
    [rows, channels]: [usize; 2],
    dtype: DType,
) -> CubeTensor {
    let map = into_contiguous(map);
    let client = map.client.clone();
    // First the sums of pieces of the rows, then the sums of these.
    let pieces = rows.div_ceil(1024).clamp(1, 256);
    let sum = empty(&map, [channels], dtype);
    let launch = |table: CubeTensor, sums: CubeTensor, rows: usize, pieces: usize| {
        let sizes = client.io_optimized_vector_sizes(table.dtype.size());
        let fits = |&size: &usize| size <= 8 && channels.is_multiple_of(size);
        let vector = sizes.filter(fits).max().unwrap_or(1);
        let types = (table.dtype, sums.dtype);
        column_sums::launch(
            &client,
            CubeCount::Static((channels / vector).div_ceil(32) as u32, pieces as u32, 1),
            CubeDim::new_2d(32, 8),
            address(&table),
            vector,
            table.into_buffer_arg(),
            sums.into_buffer_arg(),
            channels as u32,
            rows as u32,
            rows.div_ceil(pieces) as u32,
            elem(types.0),
            elem(types.1),
        );
    };
    match pieces {
        1 => launch(map, sum.clone(), rows, 1),
        _ => {
            let partial = empty(&map, [pieces, channels], DType::F32);
            launch(map, partial.clone(), rows, pieces);
            launch(partial, sum.clone(), pieces, 1);
        }
    }
    sum
}

/// Sums over pieces of `piece` rows of a table `[rows, channels]`; cubes of 32 vectors of columns
/// and 8 lanes.
#[cube(launch, address_type = "dynamic")]
fn column_sums<F: Float, D: Float, N: Size>(
    table: &[Vector<F, N>],
    sums: &mut [Vector<D, N>],
    channels: u32,
    rows: u32,
    piece: u32,
    #[define(F)] _f: ElemType,
    #[define(D)] _d: ElemType,
) {
    let column = (CUBE_POS_X * 32 + UNIT_POS_X) as usize;
    let (lane, columns) = (UNIT_POS_Y as usize, channels as usize / N::value());
    let first = CUBE_POS_Y as usize * piece as usize;
    let mut end = first + piece as usize;
    if end > rows as usize {
        end = rows as usize;
    }
    let mut sum = Vector::<f32, N>::new(0f32);
    if column < columns {
        let mut row = first + lane;
        while row < end {
            sum += Vector::<f32, N>::cast_from(table[row * columns + column]);
            row += 8;
        }
    }
    let mut shared = Shared::<[Vector<f32, N>]>::new_slice(256usize);
    shared[UNIT_POS as usize] = sum;
    sync_cube();
    if lane == 0 {
        let mut total = Vector::<f32, N>::new(0f32);
        for i in 0..8usize {
            total += shared[UNIT_POS_X as usize + 32 * i];
        }
        if column < columns {
            sums[CUBE_POS_Y as usize * columns + column] = Vector::cast_from(total);
        }
    }
}

/// Adds a row to every row of a table `[rows, channels]`, in place.
pub(super) fn add_to_rows(table: CubeTensor, row: CubeTensor) -> CubeTensor {
    let channels = row.shape().num_elements();
    let [table, row] = [table, row].map(into_contiguous);
    let sizes = table.client.io_optimized_vector_sizes(table.dtype.size());
    let fits = |&size: &usize| size <= 8 && channels.is_multiple_of(size);
    let vector = sizes.filter(fits).max().unwrap_or(1);
    let count = table.shape().num_elements() / vector;
    let client = table.client.clone();
    let types = (table.dtype, row.dtype);
    add_row_kernel::launch(
        &client,
        cubes(count.div_ceil(UNITS)),
        CubeDim::new_1d(UNITS as u32),
        address(&table),
        vector,
        table.clone().into_buffer_arg(),
        row.into_buffer_arg(),
        count as u32,
        (channels / vector) as u32,
        elem(types.0),
        elem(types.1),
    );
    table
}

#[cube(launch, address_type = "dynamic")]
fn add_row_kernel<F: Float, G: Float, N: Size>(
    table: &mut [Vector<F, N>],
    row: &[Vector<G, N>],
    count: u32,
    columns: u32,
    #[define(F)] _f: ElemType,
    #[define(G)] _g: ElemType,
) {
    let i = ABSOLUTE_POS;
    if i >= count as usize {
        terminate!();
    }
    let value = Vector::<f32, N>::cast_from(table[i]);
    let added = Vector::<f32, N>::cast_from(row[i % columns as usize]);
    table[i] = Vector::cast_from(value + added);
}
