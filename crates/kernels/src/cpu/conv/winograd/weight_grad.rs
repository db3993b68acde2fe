//! The gradients of weight and bias: products of transformed patches with transformed gradients,
//! summed over tiles, and transformed back once at the end.

use super::transform::{Input, OutputGrad, PATCH, POINTS, Square, TILE, WeightGrad, both};
use super::{Layout, Matrices, Planes, Shape, Squares, Tiling};
use crate::cpu::conv::pack::panel_width;
use crate::cpu::conv::parts::{Gradients, Parts, TASKS, add_columns};
use crate::cpu::product::{Left, product};
use crate::cpu::scratch;
use crate::cpu::simd::{Isa, Kernel, Lanes};
use rayon::prelude::*;
use std::ops::Range;

/// Input channels per task.
const CHANNELS: usize = 64;
/// Tiles worked through at a time.
const TILES: usize = 32;

pub(in crate::cpu::conv) fn weight_grad(
    isa: Isa,
    shape: &Shape,
    x: &[f32],
    dy: &[f32],
) -> Gradients {
    let (lanes, size) = (panel_width(isa), shape.output());
    let tiling = Tiling::new(size);
    let planes = Planes {
        values: x,
        channels: shape.channels_in,
        size: shape.size_in,
    };
    let x = Squares {
        planes,
        tiling,
        padding: shape.padding,
    };
    let planes = Planes {
        values: dy,
        channels: shape.channels_out,
        size,
    };
    let dy = Squares {
        planes,
        tiling,
        padding: [0, 0],
    };
    let panels = shape.channels_out.div_ceil(lanes);
    let slices = shape.channels_in.div_ceil(CHANNELS);
    let groups = TASKS.div_ceil(panels * slices).min(shape.batch);
    let all_rows = shape.batch * tiling.rows;
    let rows = (TILES / tiling.columns).max(1);
    let pitch = CHANNELS.min(shape.channels_in.next_multiple_of(isa.lanes()));
    let tiles = rows * tiling.columns;
    let band = (rows * TILE + PATCH) * size[1].max(shape.size_in[1]) * isa.lanes();
    let lengths = [
        Layout::new(tiles, pitch).len(),
        Layout::new(tiles, lanes).len(),
        Layout::new(pitch, lanes).len(),
        band,
    ];
    let tasks = (0..groups * panels * slices).into_par_iter();
    let values = tasks.map(|task| {
        let (group, panel, slice) = (
            task / slices / panels,
            task / slices % panels,
            task % slices,
        );
        let first = slice * CHANNELS;
        let channels = first..(first + CHANNELS).min(shape.channels_in);
        let range = group * all_rows / groups..(group + 1) * all_rows / groups;
        scratch::with(lengths, |[patches, gradients, sums, band]| {
            let task = Task {
                x,
                dy,
                range,
                rows,
                panel,
                channels,
                pitch,
                patches,
                gradients,
                sums,
                band,
            };
            isa.run(task)
        })
    });
    Parts {
        values: values.collect(),
        groups,
        slice: CHANNELS,
    }
    .add(isa, shape)
}

/// The sums over some rows of tiles, for a panel of output channels and a slice of input channels.
struct Task<'a> {
    x: Squares<'a>,
    dy: Squares<'a>,
    /// Counted through all images.
    range: Range<usize>,
    /// How many of them are worked through at a time.
    rows: usize,
    panel: usize,
    channels: Range<usize>,
    /// Floats from one tile's row of input channels to the next's.
    pitch: usize,
    patches: &'a mut [f32],
    gradients: &'a mut [f32],
    sums: &'a mut [f32],
    band: &'a mut [f32],
}

impl Kernel for Task<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn run<V: Lanes>(mut self) -> Vec<f32> {
        let (lanes, count) = (2 * V::N, self.channels.len());
        let outputs = self.dy.planes.channels - self.panel * lanes;
        let width = if outputs > V::N { lanes } else { V::N };
        let mut part = vec![0.0; (count * 9 + 1) * lanes];
        let (weight, bias) = part.split_at_mut(count * 9 * lanes);
        for start in self.range.clone().step_by(self.rows) {
            let rows = start..(start + self.rows).min(self.range.end);
            // The first products are written over what an earlier task left.
            match start == self.range.start {
                true => self.multiply::<V, false>(rows, bias),
                false => self.multiply::<V, true>(rows, bias),
            }
        }
        let sums = Matrices::new(self.sums, Layout::new(count, lanes));
        for (channel, weight) in weight.chunks_exact_mut(9 * lanes).enumerate() {
            // Lanes from the width on were never written.
            for at in (0..width).step_by(V::N) {
                // The chunk has nine rows of two registers.
                let weight = Square {
                    start: weight[at..].as_mut_ptr(),
                    row: 3 * lanes,
                    column: lanes,
                };
                both::<V, WeightGrad, PATCH, 3>(&sums.take::<V>(channel, at), &weight);
            }
        }
        part
    }
}

impl Task<'_> {
    /// Writes the products of some rows of tiles, or adds them to what is there where `ADD`.
    #[inline(always)]
    fn multiply<V: Lanes, const ADD: bool>(&mut self, range: Range<usize>, bias: &mut [f32]) {
        let (lanes, pitch, count) = (2 * V::N, self.pitch, self.channels.len());
        let tiles = range.len() * self.x.tiling.columns;
        let mut patches = Matrices::new(self.patches, Layout::new(tiles, pitch));
        let mut gradients = Matrices::new(self.gradients, Layout::new(tiles, lanes));
        let first = self.panel * lanes;
        let outputs = lanes.min(self.dy.planes.channels - first);
        for strip in self.x.tiling.strips(range) {
            for at in (0..count).step_by(V::N) {
                let channels = [self.channels.start + at, V::N.min(count - at)];
                let to = (&mut patches, at);
                self.x
                    .transform::<V, Input, PATCH>(&strip, channels, self.band, to);
            }
            for at in (0..outputs).step_by(V::N) {
                let channels = [first + at, V::N.min(outputs - at)];
                let to = (&mut gradients, at);
                let band = self
                    .dy
                    .transform::<V, OutputGrad, TILE>(&strip, channels, self.band, to);
                add_columns::<V>(band.positions(V::N), &mut bias[at..at + V::N]);
            }
        }
        let width = if outputs > V::N { lanes } else { V::N };
        for point in 0..POINTS {
            let left = Left {
                values: patches.point(point),
                pitch,
            };
            let sums = &mut self.sums[Layout::new(count, lanes).point(point)];
            let sizes = [count, tiles, width];
            product::<V, true, ADD>(left, sizes, (gradients.point(point), lanes), (sums, lanes));
        }
    }
}
