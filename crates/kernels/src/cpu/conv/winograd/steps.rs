//! The steps of a convolution through tiles: patches and kernels are transformed, their products
//! transformed back.

use super::forward::Tiled;
use super::transform::{Input, Output, PATCH, Square, TILE, Weight, Write, both};
use super::{Matrices, Squares, Strip};
use crate::cpu::output::Shared;
use crate::cpu::simd::Lanes;
use crate::cpu::simd::transpose::{Rows, transpose};
use std::ops::Range;

impl Tiled<'_> {
    /// Packs and transforms a panel's kernels for some input channels, into the rows of `to` from
    /// one on.
    #[inline(always)]
    pub(super) fn transform_kernels<V: Lanes>(
        &self,
        panel: usize,
        channels: Range<usize>,
        packed: &mut [f32],
        (to, first_row): (&mut Matrices, usize),
    ) {
        let lanes = 2 * V::N;
        let packed = &mut packed[..channels.len() * 9 * lanes];
        self.kernels.write::<V>(panel, channels, packed);
        for (row, kernel) in packed.chunks_exact(9 * lanes).enumerate() {
            for at in [0, V::N] {
                // The chunk has nine rows of two registers.
                let kernel = Square {
                    start: kernel[at..].as_ptr(),
                    row: 3 * lanes,
                    column: lanes,
                };
                both::<V, Weight, 3, PATCH>(&kernel, &to.put::<V>(first_row + row, at));
            }
        }
    }

    /// Transforms the patches of some rows of tiles, a column for each input channel.
    #[inline(always)]
    pub(super) fn transform_patches<V: Lanes>(
        &self,
        source: &Squares,
        rows: Range<usize>,
        band: &mut [f32],
        to: &mut Matrices,
    ) {
        for strip in source.tiling.strips(rows) {
            for first in (0..self.source_channels).step_by(V::N) {
                let channels = [first, V::N.min(self.source_channels - first)];
                source.transform::<V, Input, PATCH>(&strip, channels, band, (to, first));
            }
        }
    }

    /// The floats of a panel that hold output channels, in whole registers.
    #[inline(always)]
    pub(super) fn width<V: Lanes>(&self, panel: usize) -> usize {
        match self.channels - panel * 2 * V::N > V::N {
            true => 2 * V::N,
            false => V::N,
        }
    }

    /// Transforms the products of one strip and panel back, adds the bias and writes the planes.
    #[inline(always)]
    pub(super) fn write<V: Lanes>(
        &self,
        (strip, columns): (&Strip, usize),
        panel: usize,
        products: &Matrices,
        sums: &mut [f32],
        output: &Shared,
    ) {
        let (lanes, [height, row_len]) = (2 * V::N, self.size);
        let first = panel * lanes;
        let channels = lanes.min(self.channels - first);
        let mut bias = [0.0; 32];
        if let Some(values) = self.bias {
            bias[..channels].copy_from_slice(&values[first..first + channels]);
        }
        let top = strip.rows.start * TILE;
        let rows = (strip.rows.end * TILE).min(height) - top;
        assert!(sums.len() >= rows * row_len * lanes);
        let sums = sums.as_mut_ptr();
        for (number, [row, column]) in strip.tiles(columns) {
            for at in (0..self.width::<V>(panel)).step_by(V::N) {
                let position = (row * TILE - top) * row_len + column * TILE;
                // SAFETY: the bias fills two registers.
                let bias = unsafe { V::load(bias.as_ptr().add(at)) };
                // Positions inside the image have a row of sums.
                let tile = Tile {
                    square: Square {
                        start: sums.wrapping_add(position * lanes + at),
                        row: row_len * lanes,
                        column: lanes,
                    },
                    size: [height - row * TILE, row_len - column * TILE],
                    bias,
                };
                both::<V, Output, PATCH, TILE>(&products.take::<V>(number, at), &tile);
            }
        }
        let plane = height * row_len;
        let start = (strip.image * self.channels + first) * plane + top * row_len;
        // SAFETY: the sums have a row for each position of these rows; `run` checked that the
        // output holds every image and channel, and these rows of this image are this task's own.
        unsafe {
            let from = Rows {
                start: sums.cast_const(),
                pitch: lanes,
            };
            let to = Rows {
                start: output.0.add(start),
                pitch: plane,
            };
            transpose::<V>(from, [rows * row_len, channels], to);
        }
    }
}

/// The positions of a tile in a part of an image. Whoever makes one vouches that those inside the image
/// are writable.
struct Tile<V> {
    square: Square<*mut f32>,
    /// Rows and columns of the image from the tile's first on.
    size: [usize; 2],
    bias: V,
}

impl<V: Lanes> Write<V> for Tile<V> {
    #[inline(always)]
    fn write(&self, row: usize, column: usize, value: V) {
        if row < self.size[0] && column < self.size[1] {
            self.square.write(row, column, value.add(self.bias));
        }
    }
}
