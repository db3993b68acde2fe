//! The forward pass, and with the kernels turned round the gradient of the input.

use super::transform::{Input, Output, PATCH, POINTS, TILE, Weight, both};
use super::{Layout, Matrices, Planes, Squares, Strip, Tiling};
use crate::cpu::conv::Shape;
use crate::cpu::conv::pack::{Packing, panel_width};
use crate::cpu::output::{Shared, written_by};
use crate::cpu::product::{Left, product};
use crate::cpu::scratch::{self, Aligned};
use crate::cpu::simd::transpose::{Rows, transpose};
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
/// Floats of transformed kernels that are worked through at a time. Tests have so few that their
/// shapes take several turns.
const KERNELS: usize = if cfg!(test) {
    1 << 16
} else {
    TRANSFORMED_KERNELS
};

/// One convolution of 3x3 kernels at stride one.
struct Tiled<'a> {
    isa: Isa,
    batch: usize,
    source_channels: usize,
    source_size: [usize; 2],
    padding: [usize; 2],
    /// Channels of the output.
    channels: usize,
    /// Height and width of the output.
    size: [usize; 2],
    /// The kernels, in panels of output channels.
    kernels: Packing<'a>,
    bias: Option<&'a [f32]>,
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
                        tiling,
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
            scratch::with([conv.kernels.panel_len()], |[packed]| {
                conv.kernels.pack(first_panel + panel, packed);
                conv.isa.run(WeightTask { from: packed, to });
            });
        });
}

struct WeightTask<'a> {
    from: &'a [f32],
    to: &'a mut [f32],
}

impl Kernel for WeightTask<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self) {
        let lanes = 2 * V::N;
        let channels = self.from.len() / 9 / lanes;
        let mut to = Matrices::new(self.to, Layout::new(channels, lanes));
        for (channel, kernel) in self.from.chunks_exact(9 * lanes).enumerate() {
            for at in [0, V::N] {
                let mut g = [[V::splat(0.0); 3]; 3];
                for k in 0..9 {
                    // SAFETY: the chunk has nine rows of two registers.
                    g[k / 3][k % 3] = unsafe { V::load(kernel.as_ptr().add(k * lanes + at)) };
                }
                to.put(channel, at, &both::<V, Weight, 3, PATCH>(&g));
            }
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
    tiling: Tiling,
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
        for strip in self.tiling.strips(self.range.clone()) {
            for first in (0..conv.source_channels).step_by(V::N) {
                let channels = [first, V::N.min(conv.source_channels - first)];
                let to = (&mut self.patches, first);
                self.source
                    .transform::<V, Input, PATCH>(&strip, channels, self.band, to);
            }
        }
        let depth = conv.source_channels;
        let kernels = self.kernels;
        for (panel, weights) in self.weights.chunks_exact(kernels.len()).enumerate() {
            let panel = self.first_panel + panel;
            let width = if conv.channels - panel * lanes > V::N {
                lanes
            } else {
                V::N
            };
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
            for strip in self.tiling.strips(self.range.clone()) {
                self.write::<V>(&strip, panel, width);
            }
        }
    }
}

impl Task<'_> {
    /// Transforms the products of one strip and panel back, adds the bias and writes the planes.
    #[inline(always)]
    fn write<V: Lanes>(&mut self, strip: &Strip, panel: usize, width: usize) {
        let (conv, lanes, [height, row_len]) = (self.conv, 2 * V::N, self.conv.size);
        let first = panel * lanes;
        let channels = lanes.min(conv.channels - first);
        let mut bias = [0.0; 32];
        if let Some(values) = conv.bias {
            bias[..channels].copy_from_slice(&values[first..first + channels]);
        }
        let top = strip.rows.start * TILE;
        let rows = (strip.rows.end * TILE).min(height) - top;
        assert!(self.sums.len() >= rows * row_len * lanes);
        let sums = self.sums.as_mut_ptr();
        for (tile, [row, column]) in strip.tiles(self.tiling.columns) {
            for at in (0..width).step_by(V::N) {
                let y = both::<V, Output, PATCH, TILE>(&self.products.take(tile, at));
                // SAFETY: the bias fills two registers, and positions inside the output have a row
                // of sums.
                unsafe {
                    let bias = V::load(bias.as_ptr().add(at));
                    for i in 0..TILE.min(height - row * TILE) {
                        for j in 0..TILE.min(row_len - column * TILE) {
                            let position = (row * TILE - top + i) * row_len + column * TILE + j;
                            y[i][j].add(bias).store(sums.add(position * lanes + at));
                        }
                    }
                }
            }
        }
        let plane = height * row_len;
        let start = (strip.image * conv.channels + first) * plane + top * row_len;
        // SAFETY: the sums have a row for each position of these rows; `run` checked that the
        // output holds every image and channel, and these rows of this image are this task's own.
        unsafe {
            let from = Rows {
                start: sums.cast_const(),
                pitch: lanes,
            };
            let to = Rows {
                start: self.output.0.add(start),
                pitch: plane,
            };
            transpose::<V>(from, [rows * row_len, channels], to);
        }
    }
}
