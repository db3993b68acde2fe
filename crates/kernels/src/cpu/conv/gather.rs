//! Every output position gathers its taps: the forward pass, and the gradient of the input.
//!
//! Output channels lie along the lanes; where there are too few of them, positions do ([`thin`]).

mod thin;

use super::super::output::Shared;
use super::super::scratch;
use super::super::simd::transpose::{Rows, transpose};
use super::super::simd::{Isa, Kernel, Lanes};
use super::pack::panel_width;
use super::window::{Tap, Window};
use rayon::prelude::*;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Rows of packed weights worked through at a time: what stays in the first-level cache beside the input.
const DEPTH: usize = 144;
/// Output positions per task: their sums stay in the second-level cache.
const POSITIONS: usize = 256;
/// Panels, at most, that share a copy of the source.
const PANELS: usize = 4;
/// Tasks, at least, where panels share copies.
const TASKS: usize = 16;

/// Which output positions are computed: `first + step * i` for `i` below `size`, along each axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    pub(super) size: [usize; 2],
    pub(super) first: [usize; 2],
    pub(super) step: usize,
}

impl Grid {
    /// Where the grid's row `row` begins in a plane of `size`.
    pub(super) fn row(&self, size: [usize; 2], row: usize) -> usize {
        (self.first[0] + row * self.step) * size[1] + self.first[1]
    }
}

/// One convolution by taps; the position `i` of the grid reads the source around `stride * i`.
pub(super) struct Gather<'a> {
    pub(super) isa: Isa,
    pub(super) batch: usize,
    pub(super) source_channels: usize,
    pub(super) source_size: [usize; 2],
    pub(super) stride: usize,
    /// Channels of the output.
    pub(super) channels: usize,
    /// Height and width of the output's planes.
    pub(super) size: [usize; 2],
    pub(super) taps: &'a [Tap],
    pub(super) weights: &'a [f32],
    pub(super) bias: Option<&'a [f32]>,
    pub(super) grid: Grid,
}

/// How the positions and channels of a [`Gather`] are gone through.
pub(super) struct Plan {
    /// Rows of the grid per task, and tasks per plane.
    pub(super) rows: usize,
    pub(super) blocks: usize,
    /// Source channels that are copied at a time.
    pub(super) chunk: usize,
    /// What a task's rows read.
    pub(super) window: Window,
    /// Where each (channel, tap) of a chunk lies in the copy.
    pub(super) offsets: Vec<usize>,
}

impl Gather<'_> {
    /// Computes the grid's positions of every channel of every image; the others are left alone.
    pub(super) fn run(&self, source: &[f32], output: &mut [MaybeUninit<f32>]) {
        assert!(output.len() >= self.batch * self.channels * self.size[0] * self.size[1]);
        assert!(
            source.len()
                >= self.batch * self.source_channels * self.source_size[0] * self.source_size[1]
        );
        let output = Shared(output.as_mut_ptr().cast());
        match thin::fits(self) {
            true => thin::run(self, &self.plan(), source, output),
            false => self.run_in_panels(&self.plan(), source, output),
        }
    }

    fn plan(&self) -> Plan {
        let [height, width] = self.grid.size;
        let rows = (POSITIONS / width).clamp(1, height);
        let chunk = (DEPTH / self.taps.len().max(1)).clamp(1, self.source_channels);
        let window = Window::new(self.taps, self.stride, rows, width);
        Plan {
            rows,
            blocks: height.div_ceil(rows),
            chunk,
            offsets: window.offsets(chunk),
            window,
        }
    }

    /// Channels along the lanes. Panels share a copy of the source where there are tasks enough.
    fn run_in_panels(&self, plan: &Plan, source: &[f32], output: Shared) {
        let [height, width] = self.grid.size;
        let lanes = panel_width(self.isa);
        let panels = self.channels.div_ceil(lanes);
        let shared = (self.batch * plan.blocks * panels / TASKS).clamp(1, PANELS.min(panels));
        let groups = panels.div_ceil(shared);
        (0..self.batch * groups * plan.blocks)
            .into_par_iter()
            .for_each(|task| {
                let first_row = task % plan.blocks * plan.rows;
                let rows = plan.rows.min(height - first_row);
                let first_panel = task / plan.blocks % groups * shared;
                let panels = first_panel..(first_panel + shared).min(panels);
                let sums = panels.len() * rows * width * lanes;
                scratch::with([plan.chunk * plan.window.len(), sums], |[copy, sums]| {
                    self.isa.run(Task {
                        gather: self,
                        plan,
                        source,
                        output,
                        image: task / plan.blocks / groups,
                        panels,
                        first_row,
                        rows,
                        copy,
                        sums,
                    });
                });
            });
    }
}

/// The source of some rows of an image, copied a chunk of channels at a time.
struct Chunks<'a> {
    gather: &'a Gather<'a>,
    plan: &'a Plan,
    /// The planes of the image.
    planes: &'a [f32],
    first_row: usize,
    next_channel: usize,
}

impl<'a> Chunks<'a> {
    fn new(
        gather: &'a Gather<'a>,
        plan: &'a Plan,
        source: &'a [f32],
        image: usize,
        first_row: usize,
    ) -> Self {
        let len = gather.source_channels * gather.source_size[0] * gather.source_size[1];
        Self {
            gather,
            plan,
            planes: &source[image * len..][..len],
            first_row,
            next_channel: 0,
        }
    }

    /// Copies the next channels; gives their rows of packed weights.
    #[inline(always)]
    fn copy_next(&mut self, copy: &mut [f32]) -> Option<Range<usize>> {
        let Gather {
            taps,
            source_size,
            source_channels,
            ..
        } = *self.gather;
        let first = self.next_channel;
        if first == 0 {
            self.plan.window.clear(copy);
        }
        let last = (first + self.plan.chunk).min(source_channels);
        if first == last || taps.is_empty() {
            return None;
        }
        let plane = source_size[0] * source_size[1];
        let planes = &self.planes[first * plane..last * plane];
        self.plan
            .window
            .copy(planes, source_size, self.first_row, copy);
        self.next_channel = last;
        Some(first * taps.len()..last * taps.len())
    }
}

/// A few rows of some panels of channels of one image.
struct Task<'a> {
    gather: &'a Gather<'a>,
    plan: &'a Plan,
    source: &'a [f32],
    output: Shared,
    image: usize,
    panels: Range<usize>,
    first_row: usize,
    rows: usize,
    copy: &'a mut [f32],
    /// For each panel a row of lanes for each position.
    sums: &'a mut [f32],
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
        let depth = g.source_channels * g.taps.len();
        let panel_len = self.rows * g.grid.size[1] * lanes;
        let mut chunks = Chunks::new(g, self.plan, self.source, self.image, self.first_row);
        while let Some(rows) = chunks.copy_next(self.copy) {
            for (panel, sums) in self
                .panels
                .clone()
                .zip(self.sums.chunks_exact_mut(panel_len))
            {
                let weights = &g.weights[panel * depth * lanes..][..depth * lanes];
                let tiles = Tiles {
                    from: self.copy,
                    row_step: window.row_step(),
                    stride: g.stride,
                    offsets: &self.plan.offsets[..rows.len()],
                    weights: &weights[rows.start * lanes..rows.end * lanes],
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
            // SAFETY: `run` checked that the output holds every image and channel. What is written are the
            // grid's positions of this task's channels and rows, of which `sums` has one row each.
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

/// Full rows of positions, and what their sums are made of.
struct Tiles<'a> {
    from: &'a [f32],
    /// Floats of `from` from one row of positions to the next, and from one position to the next.
    row_step: usize,
    stride: usize,
    offsets: &'a [usize],
    weights: &'a [f32],
    width: usize,
    sums: &'a mut [f32],
}

/// Adds to all sums, the widest tiles of each row first, with `W` registers of channels.
/// `S` is the stride where it is known when compiling, else 0.
#[inline(always)]
fn rows_of_tiles<V: Lanes, const W: usize, const S: usize>(tiles: Tiles) {
    let Tiles {
        row_step,
        stride,
        offsets,
        weights,
        width,
        ..
    } = tiles;
    let (rows, last) = (tiles.sums.len() / (2 * V::N) / width, offsets.iter().max());
    let end = last.map_or(0, |last| {
        last + (rows - 1) * row_step + (width - 1) * stride
    });
    assert!(end < tiles.from.len() && weights.len() == offsets.len() * 2 * V::N);
    for row in 0..rows {
        let mut x = 0;
        // SAFETY: no tile reads `from` after the last offset of the last position, just checked, and each
        // has a row of lanes in `sums` for every position.
        unsafe {
            let from = tiles.from.as_ptr().add(row * row_step);
            let sums = tiles.sums.as_mut_ptr().add(row * width * 2 * V::N);
            let at = |x: usize| (from.add(x * stride), sums.add(x * 2 * V::N));
            while V::ROWS >= 8 && x + 8 <= width {
                tile::<V, 8, W, S>(at(x), offsets, weights, stride);
                x += 8;
            }
            while V::ROWS >= 4 && x + 4 <= width {
                tile::<V, 4, W, S>(at(x), offsets, weights, stride);
                x += 4;
            }
            while x + 2 <= width {
                tile::<V, 2, W, S>(at(x), offsets, weights, stride);
                x += 2;
            }
            if x < width {
                tile::<V, 1, W, S>(at(x), offsets, weights, stride);
            }
        }
    }
}

/// Adds `weights` times the taps of `P` neighbouring positions to their sums.
///
/// # Safety
/// From the first pointer, every offset plus `(P - 1) * stride` is readable; at the second, `P` rows of
/// two registers are readable and writable; `weights` has a row of two registers for each offset.
#[inline(always)]
unsafe fn tile<V: Lanes, const P: usize, const W: usize, const S: usize>(
    (from, sums): (*const f32, *mut f32),
    offsets: &[usize],
    weights: &[f32],
    stride: usize,
) {
    let stride = if S == 0 { stride } else { S };
    // SAFETY: all of this function reads and writes what the caller vouches for.
    unsafe {
        let mut acc = [[V::splat(0.0); W]; P];
        for p in 0..P {
            for w in 0..W {
                acc[p][w] = V::load(sums.add((2 * p + w) * V::N));
            }
        }
        let mut row = weights.as_ptr();
        for &offset in offsets {
            let mut factors = [V::splat(0.0); W];
            for w in 0..W {
                factors[w] = V::load(row.add(w * V::N));
            }
            let from = from.add(offset);
            for p in 0..P {
                let x = V::splat(*from.add(p * stride));
                for w in 0..W {
                    acc[p][w] = x.mul_add(factors[w], acc[p][w]);
                }
            }
            row = row.add(2 * V::N);
        }
        for p in 0..P {
            for w in 0..W {
                acc[p][w].store(sums.add((2 * p + w) * V::N));
            }
        }
    }
}
