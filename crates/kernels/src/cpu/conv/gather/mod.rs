//! Every output position gathers its taps: the forward pass, and the gradient of the input.
//!
//! Output channels lie along the lanes ([`panels`]); if there are too few of them, positions do
//! ([`thin`]).

mod panels;
mod thin;
mod tiles;

use super::pack::Packing;
use super::window::{Tap, Window};
use crate::cpu::output::Shared;
use crate::cpu::simd::Isa;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Rows of packed weights worked through at a time: what stays in the first-level cache next to the
/// input.
const DEPTH: usize = 144;
/// Output positions per task: their sums stay in the second-level cache.
const POSITIONS: usize = 256;

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
    pub(super) kernels: Packing<'a>,
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
    /// Computes the grid's positions of every channel of every image; others are not written.
    pub(super) fn run(&self, source: &[f32], output: &mut [MaybeUninit<f32>]) {
        assert!(output.len() >= self.batch * self.channels * self.size[0] * self.size[1]);
        assert!(
            source.len()
                >= self.batch * self.source_channels * self.source_size[0] * self.source_size[1]
        );
        let (plan, output) = (self.plan(), Shared(output.as_mut_ptr().cast()));
        match thin::fits(self) {
            true => thin::run(self, &plan, &self.kernels.all(), source, output),
            // Nobody else needs what the only task of a panel packs: it does so a piece at a time.
            false if self.batch * plan.blocks == 1 => {
                panels::run(self, &plan, None, source, output);
            }
            false => panels::run(self, &plan, Some(&self.kernels.all()), source, output),
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

    /// Copies the next channels, and says which they are.
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
        Some(first..last)
    }
}
