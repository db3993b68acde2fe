//! Kernels of one element: each image's output is the weight's matrix times the input's. Of a map with
//! more columns than a task takes, some at a time are laid close together: where they lie, a column's
//! numbers are a whole map apart, and maps of powers of two would take turns in the same few lines of the
//! caches.

use super::super::output::{Shared, written_by};
use super::super::product::{Left, product_at};
use super::super::scratch;
use super::super::simd::{Isa, Kernel, Lanes};
use super::super::weights::Weights;
use super::Shape;
use rayon::prelude::*;

/// Columns of a task are a multiple of this, which is one of every register's lanes, but for the last.
const COLUMNS: usize = 64;
/// Columns of a task, at most.
const MOST_COLUMNS: usize = 256;
/// Floats of the input's columns of a task, where that leaves enough columns: half of a second-level cache of
/// 1 MiB.
const LAID: usize = 1 << 17;
/// Tasks, about, where there are enough rows of the result.
const TASKS: usize = 32;
/// Rows of the result that a task computes at a time, and for which it widens the weight.
const ROWS: usize = 64;
/// Rows of a task are a multiple of this: whole tiles of registers.
const TILE: usize = 8;

/// Whether a convolution is such a product, of whole registers of positions.
pub(super) fn fits(isa: Isa, shape: &Shape) -> bool {
    let one_to_one = shape.kernel == [1, 1] && shape.stride == 1 && shape.padding == [0, 0];
    one_to_one && (shape.size_in[0] * shape.size_in[1]).is_multiple_of(isa.lanes())
}

pub(super) fn forward(
    isa: Isa,
    shape: &Shape,
    x: &[f32],
    weight: Weights,
    bias: Option<&[f32]>,
) -> Vec<f32> {
    multiply::<false>(
        isa,
        shape,
        [shape.channels_out, shape.channels_in],
        x,
        weight,
        bias,
    )
}

pub(super) fn input_grad(isa: Isa, shape: &Shape, dy: &[f32], weight: &[f32]) -> Vec<f32> {
    multiply::<true>(
        isa,
        shape,
        [shape.channels_in, shape.channels_out],
        dy,
        weight.into(),
        None,
    )
}

/// The weight, or its transpose where `ACROSS`, times every image, plus the bias.
fn multiply<const ACROSS: bool>(
    isa: Isa,
    shape: &Shape,
    [rows, inner]: [usize; 2],
    x: &[f32],
    weight: Weights,
    bias: Option<&[f32]>,
) -> Vec<f32> {
    let (area, pitch) = (shape.size_in[0] * shape.size_in[1], shape.channels_in);
    let columns = (LAID / inner / COLUMNS * COLUMNS)
        .clamp(COLUMNS, MOST_COLUMNS)
        .min(area);
    let panels = area.div_ceil(columns);
    let blocks = TASKS
        .div_ceil(shape.batch * panels)
        .min(rows.div_ceil(ROWS));
    let height = rows.div_ceil(blocks).next_multiple_of(TILE);
    let blocks = rows.div_ceil(height);
    assert!(x.len() >= shape.batch * inner * area);
    // SAFETY: the tasks write all columns and rows of all images, each its own.
    unsafe {
        written_by(shape.batch * rows * area, |y| {
            let y = &Shared(y.as_mut_ptr().cast());
            let tasks = shape.batch * panels * blocks;
            (0..tasks).into_par_iter().for_each(|task| {
                let (image, panel) = (task / blocks / panels, task / blocks % panels);
                let (row, column) = (task % blocks * height, panel * columns);
                let (count, width) = (height.min(rows - row), columns.min(area - column));
                let room = weight.room(ROWS.min(count) * pitch);
                let lengths = match width < area {
                    true => [inner * width, ROWS * width, room],
                    false => [0, 0, room],
                };
                scratch::with(lengths, |[laid, block, room]| {
                    isa.run(Task::<ACROSS> {
                        weight,
                        pitch,
                        row,
                        x: &x[image * inner * area + column..],
                        bias: bias.map(|bias| &bias[row..]),
                        y: y.0.add((image * rows + row) * area + column),
                        area,
                        size: [count, inner, width],
                        laid,
                        block,
                        room,
                    });
                });
            });
        })
    }
}

/// Some columns and rows of one image's result.
struct Task<'a, const ACROSS: bool> {
    /// The whole weight, with so many floats from a row to the next; in 32 bits where `ACROSS`.
    weight: Weights<'a>,
    pitch: usize,
    /// The first row of the result.
    row: usize,
    /// From the first of the columns in the first row.
    x: &'a [f32],
    bias: Option<&'a [f32]>,
    /// Writable for the rows and columns of the task.
    y: *mut f32,
    /// Floats from a row of the input, or of the result, to the next.
    area: usize,
    /// Rows of the result, rows of the input, and columns.
    size: [usize; 3],
    /// For the columns of the input, close together, where they are not the whole map.
    laid: &'a mut [f32],
    /// For those of some rows of the result; empty where the columns are the whole map.
    block: &'a mut [f32],
    /// For the rows of the weight, where they are widened.
    room: &'a mut [f32],
}

impl<const ACROSS: bool> Kernel for Task<'_, ACROSS> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self) {
        let [count, inner, width] = self.size;
        let whole = width == self.area;
        let columns = match whole {
            true => self.x,
            false => {
                let rows = self.laid.chunks_exact_mut(width);
                for (row, x) in rows.zip(self.x.chunks(self.area)) {
                    row.copy_from_slice(&x[..width]);
                }
                &*self.laid
            }
        };
        for first in (0..count).step_by(ROWS) {
            let count = ROWS.min(count - first);
            let row = self.row + first;
            let range = match ACROSS {
                true => row..row + (inner - 1) * self.pitch + count,
                false => row * self.pitch..(row + count) * self.pitch,
            };
            let weight = Left {
                values: self.weight.wide(range, self.room),
                pitch: self.pitch,
            };
            let sizes = [count, inner, width];
            // SAFETY: these columns of these rows are the task's own, and so is the block, which has room for
            // them. They hold the bias where it is added to.
            unsafe {
                let y = self.y.add(first * self.area);
                let to = match whole {
                    true => y,
                    false => self.block[..count * width].as_mut_ptr(),
                };
                match self.bias {
                    Some(bias) => {
                        for (row, &bias) in bias[first..first + count].iter().enumerate() {
                            let row = to.add(row * width);
                            (0..width).for_each(|column| row.add(column).write(bias));
                        }
                        product_at::<V, ACROSS, true>(weight, sizes, (columns, width), (to, width));
                    }
                    None => {
                        product_at::<V, ACROSS, false>(
                            weight,
                            sizes,
                            (columns, width),
                            (to, width),
                        );
                    }
                }
                if !whole {
                    for row in 0..count {
                        let values = to.add(row * width);
                        y.add(row * self.area)
                            .copy_from_nonoverlapping(values, width);
                    }
                }
            }
        }
    }
}
