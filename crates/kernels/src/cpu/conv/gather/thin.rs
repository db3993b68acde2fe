//! Few output channels: neighbouring positions lie along the lanes.
//!
//! The rows of positions are as far apart as those of the copy they read, so that a task is one
//! long row: every tap is one offset for all of it. The places between the rows are computed and
//! thrown away.

use super::{Chunks, Gather, Plan};
use crate::cpu::conv::pack::panel_width;
use crate::cpu::output::Shared;
use crate::cpu::scratch;
use crate::cpu::simd::{Kernel, Lanes};
use rayon::prelude::*;

/// Whether lanes of channels would mostly be empty.
pub(super) fn fits(gather: &Gather) -> bool {
    gather.stride == 1 && 2 * gather.channels <= gather.isa.lanes()
}

/// Computes the grid's positions; `output` has room for every image and channel, `source` holds all
/// of its, and `weights` are the kernels of the one panel.
pub(super) fn run(gather: &Gather, plan: &Plan, weights: &[f32], source: &[f32], output: Shared) {
    let ([height, width], lanes) = (gather.grid.size, gather.isa.lanes());
    (0..gather.batch * plan.blocks)
        .into_par_iter()
        .for_each(|task| {
            let first_row = task % plan.blocks * plan.rows;
            let rows = plan.rows.min(height - first_row);
            let positions = (rows - 1) * plan.window.row_step() + width;
            let positions = positions.next_multiple_of(lanes);
            // The last register may reach over the end of the copy.
            let copy = plan.chunk * plan.window.len();
            scratch::with(
                [copy + lanes, gather.channels * positions],
                |[copy, sums]| {
                    gather.isa.run(Task {
                        gather,
                        plan,
                        weights,
                        source,
                        output,
                        image: task / plan.blocks,
                        first_row,
                        rows,
                        positions,
                        copy,
                        sums,
                    });
                },
            );
        });
}

/// A few rows of all channels of one image.
struct Task<'a> {
    gather: &'a Gather<'a>,
    plan: &'a Plan,
    weights: &'a [f32],
    source: &'a [f32],
    output: Shared,
    image: usize,
    first_row: usize,
    rows: usize,
    /// Positions, with those between the rows; a multiple of the lanes.
    positions: usize,
    copy: &'a mut [f32],
    /// For each channel its positions.
    sums: &'a mut [f32],
}

impl Kernel for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(mut self) {
        for (channel, sums) in self.sums.chunks_exact_mut(self.positions).enumerate() {
            sums.fill(self.gather.bias.map_or(0.0, |bias| bias[channel]));
        }
        self.accumulate::<V>();
        self.write();
    }
}

impl Task<'_> {
    /// Adds all channels and taps to the sums, a chunk of channels at a time.
    #[inline(always)]
    fn accumulate<V: Lanes>(&mut self) {
        let (g, pitch) = (self.gather, panel_width(self.gather.isa));
        let mut chunks = Chunks::new(g, self.plan, self.source, self.image, self.first_row);
        while let Some(channels) = chunks.copy_next(self.copy) {
            let rows = channels.start * g.taps.len()..channels.end * g.taps.len();
            let mut rest = Channels {
                from: self.copy,
                offsets: &self.plan.offsets[..rows.len()],
                weights: &self.weights[rows.start * pitch..rows.end * pitch],
                pitch,
                first: 0,
                positions: self.positions,
                sums: self.sums,
            };
            while g.channels - rest.first >= 4 {
                rest.add::<V, 4>();
            }
            match g.channels - rest.first {
                3 => rest.add::<V, 3>(),
                2 => rest.add::<V, 2>(),
                1 => rest.add::<V, 1>(),
                _ => (),
            }
        }
    }

    fn write(&self) {
        let (g, plane) = (self.gather, self.gather.size[0] * self.gather.size[1]);
        let width = g.grid.size[1];
        for (channel, sums) in self.sums.chunks_exact(self.positions).enumerate() {
            let start = (self.image * g.channels + channel) * plane;
            for row in 0..self.rows {
                let from = &sums[row * self.plan.window.row_step()..][..width];
                let at = start + g.grid.row(g.size, self.first_row + row);
                for (column, value) in from.iter().enumerate() {
                    // SAFETY: `Gather::run` checked that the output holds every image and channel;
                    // this is a position of its grid, in rows that no other task has.
                    unsafe { *self.output.0.add(at + column * g.grid.step) = *value };
                }
            }
        }
    }
}

/// What the sums of some channels are made of.
struct Channels<'a> {
    from: &'a [f32],
    offsets: &'a [usize],
    /// A row of `pitch` channels for each offset.
    weights: &'a [f32],
    pitch: usize,
    /// The first channel without its sums yet.
    first: usize,
    positions: usize,
    sums: &'a mut [f32],
}

impl Channels<'_> {
    /// Adds to the sums of the next `C` channels.
    #[inline(always)]
    fn add<V: Lanes, const C: usize>(&mut self) {
        let last = self.offsets.iter().max().copied().unwrap_or(0);
        assert!(last + self.positions <= self.from.len() && self.positions.is_multiple_of(V::N));
        assert!(self.sums.len() >= (self.first + C) * self.positions);
        assert!(
            self.first + C <= self.pitch && self.weights.len() == self.offsets.len() * self.pitch
        );
        let mut at = 0;
        // SAFETY: just checked: the tiles stay below `positions`, in every channel and after every
        // offset.
        unsafe {
            while V::ROWS >= 8 && at + 4 * V::N <= self.positions {
                self.tile::<V, C, 4>(at);
                at += 4 * V::N;
            }
            while at + 2 * V::N <= self.positions {
                self.tile::<V, C, 2>(at);
                at += 2 * V::N;
            }
            if at < self.positions {
                self.tile::<V, C, 1>(at);
            }
        }
        self.first += C;
    }

    /// Adds to `P` registers of positions of `C` channels.
    ///
    /// # Safety
    /// From `at` on, `P` registers of positions exist, in the channels and behind every offset.
    #[inline(always)]
    unsafe fn tile<V: Lanes, const C: usize, const P: usize>(&mut self, at: usize) {
        // SAFETY: all of this function reads and writes what the caller vouches for.
        unsafe {
            let sums = self.sums.as_mut_ptr().add(self.first * self.positions + at);
            let mut acc = [[V::splat(0.0); P]; C];
            for c in 0..C {
                for p in 0..P {
                    acc[c][p] = V::load(sums.add(c * self.positions + p * V::N));
                }
            }
            let from = self.from.as_ptr().add(at);
            let mut weights = self.weights.as_ptr().add(self.first);
            for &offset in self.offsets {
                let mut x = [V::splat(0.0); P];
                for p in 0..P {
                    x[p] = V::load(from.add(offset + p * V::N));
                }
                for c in 0..C {
                    let weight = V::splat(*weights.add(c));
                    for p in 0..P {
                        acc[c][p] = x[p].mul_add(weight, acc[c][p]);
                    }
                }
                weights = weights.add(self.pitch);
            }
            for c in 0..C {
                for p in 0..P {
                    acc[c][p].store(sums.add(c * self.positions + p * V::N));
                }
            }
        }
    }
}
