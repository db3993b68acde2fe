//! Output channels along the lanes, in panels of two registers.

use super::tiles::{Tiles, rows_of_tiles};
use super::{Chunks, Gather, Plan};
use crate::cpu::conv::pack::panel_width;
use crate::cpu::output::Shared;
use crate::cpu::scratch;
use crate::cpu::simd::transpose::{Rows, transpose};
use crate::cpu::simd::{Kernel, Lanes};
use rayon::prelude::*;
use std::ops::Range;

/// Panels, at most, that share a copy of the source.
const PANELS: usize = 4;
/// Tasks, at least, if panels share copies.
const TASKS: usize = 16;

/// Computes the grid's positions; panels share a copy of the source if there are enough tasks. Kernels
/// that are not `packed` yet are packed where they are used.
pub(super) fn run(
    gather: &Gather,
    plan: &Plan,
    packed: Option<&[f32]>,
    source: &[f32],
    output: Shared,
) {
    let [height, width] = gather.grid.size;
    let lanes = panel_width(gather.isa);
    let panels = gather.channels.div_ceil(lanes);
    let shared = (gather.batch * plan.blocks * panels / TASKS).clamp(1, PANELS.min(panels));
    let groups = panels.div_ceil(shared);
    (0..gather.batch * groups * plan.blocks)
        .into_par_iter()
        .for_each(|task| {
            let first_row = task % plan.blocks * plan.rows;
            let rows = plan.rows.min(height - first_row);
            let first_panel = task / plan.blocks % groups * shared;
            let panels = first_panel..(first_panel + shared).min(panels);
            let sums = panels.len() * rows * width * lanes;
            let copy = plan.chunk * plan.window.len();
            let kernels = match packed {
                Some(_) => 0,
                None => plan.chunk * gather.kernels.row_len(),
            };
            scratch::with([copy, sums, kernels], |[copy, sums, kernels]| {
                gather.isa.run(Task {
                    gather,
                    plan,
                    packed,
                    source,
                    output,
                    image: task / plan.blocks / groups,
                    panels,
                    first_row,
                    rows,
                    copy,
                    sums,
                    kernels,
                });
            });
        });
}

/// A few rows of some panels of channels of one image.
struct Task<'a> {
    gather: &'a Gather<'a>,
    plan: &'a Plan,
    packed: Option<&'a [f32]>,
    source: &'a [f32],
    output: Shared,
    image: usize,
    panels: Range<usize>,
    first_row: usize,
    rows: usize,
    copy: &'a mut [f32],
    /// For each panel a row of lanes for each position.
    sums: &'a mut [f32],
    /// Room for the kernels of a chunk, where they are yet to be packed.
    kernels: &'a mut [f32],
}

impl Kernel for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(mut self) {
        self.start_with_bias::<V>();
        self.accumulate::<V>();
        self.write::<V>();
    }
}

impl Task<'_> {
    #[inline(always)]
    fn start_with_bias<V: Lanes>(&mut self) {
        let lanes = 2 * V::N;
        let panel_len = self.rows * self.gather.grid.size[1] * lanes;
        for (panel, sums) in self
            .panels
            .clone()
            .zip(self.sums.chunks_exact_mut(panel_len))
        {
            let mut start = [0.0; 64];
            let start = &mut start[..lanes];
            if let Some(bias) = self.gather.bias {
                let bias = &bias[panel * lanes..];
                let valid = bias.len().min(lanes);
                start[..valid].copy_from_slice(&bias[..valid]);
            }
            for position in sums.chunks_exact_mut(lanes) {
                position.copy_from_slice(start);
            }
        }
    }

    /// Adds all channels and taps to the sums, a chunk of channels at a time.
    #[inline(always)]
    fn accumulate<V: Lanes>(&mut self) {
        let (g, lanes) = (self.gather, 2 * V::N);
        let window = &self.plan.window;
        let row_len = g.kernels.row_len();
        let panel_len = self.rows * g.grid.size[1] * lanes;
        let mut chunks = Chunks::new(g, self.plan, self.source, self.image, self.first_row);
        while let Some(channels) = chunks.copy_next(self.copy) {
            for (panel, sums) in self
                .panels
                .clone()
                .zip(self.sums.chunks_exact_mut(panel_len))
            {
                let weights = match self.packed {
                    Some(packed) => {
                        let panel = &packed[panel * g.kernels.panel_len()..];
                        &panel[channels.start * row_len..channels.end * row_len]
                    }
                    None => {
                        let kernels = &mut self.kernels[..channels.len() * row_len];
                        g.kernels.write::<V>(panel, channels.clone(), kernels);
                        kernels
                    }
                };
                let tiles = Tiles {
                    from: self.copy,
                    row_step: window.row_step(),
                    stride: g.stride,
                    offsets: &self.plan.offsets[..channels.len() * g.taps.len()],
                    weights,
                    width: g.grid.size[1],
                    sums,
                };
                match (g.stride, g.channels - panel * lanes > V::N) {
                    (1, true) => rows_of_tiles::<V, 2, 1>(tiles),
                    (1, false) => rows_of_tiles::<V, 1, 1>(tiles),
                    (2, true) => rows_of_tiles::<V, 2, 2>(tiles),
                    (2, false) => rows_of_tiles::<V, 1, 2>(tiles),
                    _ => rows_of_tiles::<V, 2, 0>(tiles),
                }
            }
        }
    }

    /// Writes the sums, a row of `lanes` channels per position, as planes.
    #[inline(always)]
    fn write<V: Lanes>(&self) {
        let (g, lanes) = (self.gather, 2 * V::N);
        let ([_, width], plane) = (g.grid.size, g.size[0] * g.size[1]);
        let panel_len = self.rows * width * lanes;
        for (panel, sums) in self.panels.clone().zip(self.sums.chunks_exact(panel_len)) {
            let channel = panel * lanes;
            let channels = lanes.min(g.channels - channel);
            let start = (self.image * g.channels + channel) * plane;
            // SAFETY: `run` checked that the output holds every image and channel. What is written
            // are the grid's positions of this task's channels and rows, of which `sums` has one
            // row each.
            unsafe {
                let to = self.output.0.add(start);
                if g.grid.size == g.size {
                    let from = Rows {
                        start: sums.as_ptr(),
                        pitch: lanes,
                    };
                    let to = Rows {
                        start: to.add(self.first_row * width),
                        pitch: plane,
                    };
                    transpose::<V>(from, [self.rows * width, channels], to);
                    continue;
                }
                for row in 0..self.rows {
                    let to = to.add(g.grid.row(g.size, self.first_row + row));
                    // Channel by channel: neighbouring positions lie on the same cache lines.
                    for lane in 0..channels {
                        let from = sums.as_ptr().add(row * width * lanes + lane);
                        for column in 0..width {
                            *to.add(lane * plane + column * g.grid.step) =
                                *from.add(column * lanes);
                        }
                    }
                }
            }
        }
    }
}
