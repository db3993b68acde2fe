//! Few tiles and many channels, where kernels are far larger than maps: a task takes a panel of output
//! channels, and multiplies the kernels of some input channels with all tiles as soon as they are
//! transformed, while they are in the second-level cache.

use super::forward::{PACKED, Tiled};
use super::transform::{PATCH, POINTS, TILE};
use super::{Layout, Matrices, Squares};
use crate::cpu::output::Shared;
use crate::cpu::product::{Left, product};
use crate::cpu::scratch::{self, Aligned};
use crate::cpu::simd::{Kernel, Lanes};
use rayon::prelude::*;
use std::ops::Range;

/// Tiles, at most.
const TILES: usize = 64;
/// Output channels for each tile, at least.
const CHANNELS: usize = 8;
/// Input channels that are worked through at a time.
const DEPTH: usize = 4 * PACKED;

/// Whether a convolution of so many tiles is done this way.
pub(super) fn fits(conv: &Tiled, tiles: usize) -> bool {
    tiles <= TILES && conv.channels >= CHANNELS * tiles
}

/// Writes the whole output; the tiles are cut into parts of so many rows.
pub(super) fn run(conv: &Tiled, source: Squares, rows: usize, output: Shared) {
    let (lanes, columns) = (conv.isa.lanes(), source.tiling.columns);
    let all_rows = conv.batch * source.tiling.rows;
    let parts: Vec<_> = (0..all_rows)
        .step_by(rows)
        .map(|first| first..(first + rows).min(all_rows))
        .collect();
    let of_patches = |rows: usize| {
        let pitch = conv.source_channels.next_multiple_of(lanes);
        Layout::new(rows * columns, pitch)
    };
    let mut patches = Aligned::zeros(parts.len() * of_patches(rows).len());
    patches
        .par_chunks_exact_mut(of_patches(rows).len())
        .zip(&parts)
        .for_each(|(to, part)| {
            let band = (rows * TILE + PATCH) * conv.source_size[1] * lanes;
            scratch::with([band], |[band]| {
                conv.isa.run(Patches {
                    conv,
                    source,
                    rows: part.clone(),
                    band,
                    to: Matrices::new(to, of_patches(part.len())),
                });
            });
        });
    let parts: Vec<_> = parts
        .into_iter()
        .zip(patches.chunks_exact(of_patches(rows).len()))
        .map(|(rows, patches)| Part {
            layout: of_patches(rows.len()),
            rows,
            patches,
        })
        .collect();
    let lengths = [
        PACKED * conv.kernels.row_len(),
        Layout::new(DEPTH, 2 * lanes).len(),
        parts.len() * Layout::new(rows * columns, 2 * lanes).len(),
        rows * TILE * conv.size[1] * 2 * lanes,
    ];
    (0..conv.kernels.panels())
        .into_par_iter()
        .for_each(|panel| {
            scratch::with(lengths, |[packed, kernels, products, sums]| {
                conv.isa.run(Panel {
                    conv,
                    source,
                    panel,
                    parts: &parts,
                    output,
                    packed,
                    kernels,
                    products,
                    sums,
                });
            });
        });
}

/// Transforms the patches of some rows of tiles.
struct Patches<'a> {
    conv: &'a Tiled<'a>,
    source: Squares<'a>,
    rows: Range<usize>,
    band: &'a mut [f32],
    to: Matrices<'a>,
}

impl Kernel for Patches<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(mut self) {
        let to = &mut self.to;
        self.conv
            .transform_patches::<V>(&self.source, self.rows, self.band, to);
    }
}

/// Some rows of tiles, counted through all images, with their patches.
struct Part<'a> {
    rows: Range<usize>,
    layout: Layout,
    patches: &'a [f32],
}

/// A panel of output channels.
struct Panel<'a> {
    conv: &'a Tiled<'a>,
    source: Squares<'a>,
    panel: usize,
    parts: &'a [Part<'a>],
    output: Shared,
    packed: &'a mut [f32],
    /// Transformed kernels of some input channels.
    kernels: &'a mut [f32],
    /// Those of each part, one after the other.
    products: &'a mut [f32],
    /// A row of lanes for each position of a part of an image.
    sums: &'a mut [f32],
}

impl Kernel for Panel<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self) {
        let (conv, panel) = (self.conv, self.panel);
        let channels = conv.source_channels;
        let mut products = self.products;
        let mut parts = Vec::with_capacity(self.parts.len());
        for part in self.parts {
            let layout = Layout::new(part.layout.tiles, 2 * V::N);
            let (own, rest) = std::mem::take(&mut products).split_at_mut(layout.len());
            parts.push((part, Matrices::new(own, layout)));
            products = rest;
        }
        for first in (0..channels).step_by(DEPTH) {
            let some = first..(first + DEPTH).min(channels);
            let mut kernels = Matrices::new(self.kernels, Layout::new(some.len(), 2 * V::N));
            for begin in some.clone().step_by(PACKED) {
                let few = begin..(begin + PACKED).min(some.end);
                let to = (&mut kernels, begin - first);
                conv.transform_kernels::<V>(panel, few, self.packed, to);
            }
            let width = conv.width::<V>(panel);
            for (part, products) in &mut parts {
                match first {
                    0 => part.multiply::<V, false>(some.clone(), width, &kernels, products),
                    _ => part.multiply::<V, true>(some.clone(), width, &kernels, products),
                }
            }
        }
        for (part, products) in &parts {
            for strip in self.source.tiling.strips(part.rows.clone()) {
                let strip = (&strip, self.source.tiling.columns);
                conv.write::<V>(strip, panel, products, self.sums, &self.output);
            }
        }
    }
}

impl Part<'_> {
    /// Multiplies some input channels of all patches by their kernels, and adds the products to what is
    /// there where `ADD`.
    #[inline(always)]
    fn multiply<V: Lanes, const ADD: bool>(
        &self,
        channels: Range<usize>,
        width: usize,
        kernels: &Matrices,
        products: &mut Matrices,
    ) {
        let Layout { tiles, pitch, .. } = self.layout;
        for point in 0..POINTS {
            let patches = Left {
                values: &self.patches[self.layout.point(point)][channels.start..],
                pitch,
            };
            let (kernels, lanes) = (kernels.point(point), kernels.layout.pitch);
            let sizes = [tiles, channels.len(), width];
            let products = (products.point_mut(point), lanes);
            product::<V, false, ADD>(patches, sizes, (kernels, lanes), products);
        }
    }
}
