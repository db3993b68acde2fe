//! The forward pass, and with the kernels turned round the gradient of the input.

use super::transform::{PATCH, POINTS, TILE};
use super::{Layout, Matrices, Planes, Squares, Tiling, panels};
use crate::cpu::conv::Shape;
use crate::cpu::conv::pack::{Packing, panel_width};
use crate::cpu::output::{Shared, written_by};
use crate::cpu::product::{Left, product};
use crate::cpu::scratch::{self, Aligned};
use crate::cpu::simd::{Isa, Kernel, Lanes};
use crate::cpu::weights::Weights;
use crate::memory::TRANSFORMED_KERNELS;
use rayon::prelude::*;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Tiles per task, at most: their matrices stay in the second-level cache.
const TILES: usize = 32;
/// Tiles per task, at least: a full register tile.
const FEWEST_TILES: usize = 8;
/// Tasks, at least, where there are as many rows of tiles.
const TASKS: usize = 16;
/// Input channels whose kernels are packed at a time.
pub(super) const PACKED: usize = 16;
/// Floats of transformed kernels that are worked through at a time. Tests have so few that their
/// shapes take several turns.
const KERNELS: usize = if cfg!(test) {
    1 << 16
} else {
    TRANSFORMED_KERNELS
};

/// One convolution of 3x3 kernels at stride one.
pub(super) struct Tiled<'a> {
    pub(super) isa: Isa,
    pub(super) batch: usize,
    pub(super) source_channels: usize,
    pub(super) source_size: [usize; 2],
    padding: [usize; 2],
    /// Channels of the output.
    pub(super) channels: usize,
    /// Height and width of the output.
    pub(super) size: [usize; 2],
    /// The kernels, in panels of output channels.
    pub(super) kernels: Packing<'a>,
    pub(super) bias: Option<&'a [f32]>,
}

pub(in crate::cpu::conv) fn forward(
    isa: Isa,
    shape: &Shape,
    x: &[f32],
    weight: Weights,
    bias: Option<&[f32]>,
) -> Vec<f32> {
    let elements: Vec<usize> = (0..9).collect();
    let conv = Tiled {
        isa,
        batch: shape.batch,
        source_channels: shape.channels_in,
        source_size: shape.size_in,
        padding: shape.padding,
        channels: shape.channels_out,
        size: shape.output(),
        kernels: Packing::new(isa, weight, shape, &elements, false),
        bias,
    };
    // SAFETY: `run` writes the whole output.
    unsafe { written_by(shape.output_len(), |y| run(&conv, x, y)) }
}

/// A convolution of the output's gradient with the kernels turned round.
pub(in crate::cpu::conv) fn input_grad(
    isa: Isa,
    shape: &Shape,
    dy: &[f32],
    weight: &[f32],
) -> Vec<f32> {
    let turned: Vec<usize> = (0..9).rev().collect();
    let conv = Tiled {
        isa,
        batch: shape.batch,
        source_channels: shape.channels_out,
        source_size: shape.output(),
        padding: shape.padding.map(|p| 2 - p),
        channels: shape.channels_in,
        size: shape.size_in,
        kernels: Packing::new(isa, weight.into(), shape, &turned, true),
        bias: None,
    };
    // SAFETY: `run` writes the whole output.
    unsafe { written_by(shape.input_len(), |dx| run(&conv, dy, dx)) }
}

/// Writes the whole output.
fn run(conv: &Tiled, source: &[f32], output: &mut [MaybeUninit<f32>]) {
    let lanes = panel_width(conv.isa);
    let tiling = Tiling::new(conv.size);
    let all_rows = conv.batch * tiling.rows;
    let enough = (all_rows / TASKS).max(FEWEST_TILES.div_ceil(tiling.columns));
    let rows = (tiles_per_task(conv) / tiling.columns).min(enough).max(1);
    let source_len = conv.batch * conv.source_channels * conv.source_size[0] * conv.source_size[1];
    assert!(source.len() >= source_len);
    assert!(output.len() >= conv.batch * conv.channels * conv.size[0] * conv.size[1]);
    let planes = Planes {
        values: source,
        channels: conv.source_channels,
        size: conv.source_size,
    };
    let source = Squares {
        planes,
        tiling,
        padding: conv.padding,
    };
    let output = Shared(output.as_mut_ptr().cast());
    if panels::fits(conv, all_rows * tiling.columns) {
        return panels::run(conv, source, rows, output);
    }
    let (pitch, tiles) = (
        conv.source_channels.next_multiple_of(conv.isa.lanes()),
        rows * tiling.columns,
    );
    let lengths = [
        Layout::new(tiles, pitch).len(),
        Layout::new(tiles, lanes).len(),
        (rows * TILE + PATCH) * conv.source_size[1] * conv.isa.lanes(),
        rows * TILE * conv.size[1] * lanes,
    ];
    let kernels = Layout::new(conv.source_channels, lanes);
    let panels = conv.kernels.panels();
    let group = (KERNELS / kernels.len()).clamp(1, panels.max(1));
    let mut weights = Aligned::zeros(group * kernels.len());
    for first_panel in (0..panels).step_by(group) {
        let count = group.min(panels - first_panel);
        let weights = &mut weights[..count * kernels.len()];
        transform_kernels(conv, first_panel, kernels, weights);
        let weights = &*weights;
        (0..all_rows.div_ceil(rows))
            .into_par_iter()
            .for_each(|task| {
                let range = task * rows..((task + 1) * rows).min(all_rows);
                scratch::with(lengths, |[patches, products, band, sums]| {
                    let tiles = range.len() * tiling.columns;
                    conv.isa.run(Task {
                        conv,
                        source,
                        kernels,
                        weights,
                        first_panel,
                        output,
                        range,
                        patches: Matrices::new(patches, Layout::new(tiles, pitch)),
                        products: Matrices::new(products, Layout::new(tiles, lanes)),
                        band,
                        sums,
                    });
                });
            });
    }
}

fn tiles_per_task(conv: &Tiled) -> usize {
    (4096 / conv.source_channels).clamp(TILES / 2, TILES)
}

/// Packs and transforms kernels from a panel on: for each, 36 matrices of input channels by the
/// panel's lanes.
fn transform_kernels(conv: &Tiled, first_panel: usize, kernels: Layout, weights: &mut [f32]) {
    weights
        .par_chunks_exact_mut(kernels.len())
        .enumerate()
        .for_each(|(panel, to)| {
            scratch::with([PACKED * conv.kernels.row_len()], |[packed]| {
                conv.isa.run(KernelTask {
                    conv,
                    panel: first_panel + panel,
                    packed,
                    to: Matrices::new(to, kernels),
                });
            });
        });
}

/// All kernels of a panel.
struct KernelTask<'a> {
    conv: &'a Tiled<'a>,
    panel: usize,
    packed: &'a mut [f32],
    to: Matrices<'a>,
}

impl Kernel for KernelTask<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(mut self) {
        let channels = self.conv.source_channels;
        for first in (0..channels).step_by(PACKED) {
            let some = first..(first + PACKED).min(channels);
            self.conv
                .transform_kernels::<V>(self.panel, some, self.packed, (&mut self.to, first));
        }
    }
}

/// Some rows of tiles, all channels.
struct Task<'a> {
    conv: &'a Tiled<'a>,
    source: Squares<'a>,
    /// How a panel's transformed kernels lie, those of some panels, and which the first of these
    /// is.
    kernels: Layout,
    weights: &'a [f32],
    first_panel: usize,
    output: Shared,
    /// Rows of tiles, counted through all images.
    range: Range<usize>,
    /// Transformed patches: a column for each input channel.
    patches: Matrices<'a>,
    /// A column for each of a panel's output channels.
    products: Matrices<'a>,
    band: &'a mut [f32],
    /// A row of lanes for each position of the task's part of an image.
    sums: &'a mut [f32],
}

impl Kernel for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(mut self) {
        let (conv, lanes) = (self.conv, 2 * V::N);
        let (rows, patches) = (self.range.clone(), &mut self.patches);
        conv.transform_patches::<V>(&self.source, rows, self.band, patches);
        let depth = conv.source_channels;
        let kernels = self.kernels;
        for (panel, weights) in self.weights.chunks_exact(kernels.len()).enumerate() {
            let panel = self.first_panel + panel;
            let width = conv.width::<V>(panel);
            for point in 0..POINTS {
                let patches = Left {
                    values: self.patches.point(point),
                    pitch: self.patches.layout.pitch,
                };
                let sizes = [self.patches.layout.tiles, depth, width];
                let weights = (&weights[kernels.point(point)], lanes);
                product::<V, false, false>(
                    patches,
                    sizes,
                    weights,
                    (self.products.point_mut(point), lanes),
                );
            }
            let tiling = self.source.tiling;
            for strip in tiling.strips(self.range.clone()) {
                let strip = (&strip, tiling.columns);
                conv.write::<V>(strip, panel, &self.products, self.sums, &self.output);
            }
        }
    }
}
