//! 3x3 convolution at stride one through F(4x4, 3x3): each 4x4 tile of an output costs 36 products
//! per pair of channels instead of 144.
//!
//! A strip of tiles is transformed, a few channels at a time, into 36 matrices of tiles by input
//! channels; each is multiplied by the transformed kernels' matrix of input by output channels; and
//! the 36 products are transformed back.

mod forward;
mod panels;
mod steps;
mod transform;
mod weight_grad;

pub(super) use forward::{forward, input_grad};
pub(super) use weight_grad::weight_grad;

use super::Shape;
use crate::cpu::scratch::LINE;
use crate::cpu::simd::transpose::{Rows, transpose};
use crate::cpu::simd::{Lanes, WIDEST};
use std::ops::Range;
use transform::{Map, PATCH, POINTS, Read, Square, TILE, both};

/// Tiles in all, at least: fewer do not pay for transforming the kernels.
const FEWEST: usize = 12;

/// Whether this algorithm is the fastest: enough channels and tiles to pay for the transforms, and
/// planes that tiles do not overhang much.
pub(super) fn fits(shape: &Shape) -> bool {
    let [height, width] = shape.output();
    let covered = height.next_multiple_of(TILE) * width.next_multiple_of(TILE);
    shape.kernel == [3, 3]
        && shape.stride == 1
        && shape.padding.iter().all(|&p| p <= 2)
        && shape.channels_in >= 16
        && shape.channels_out >= 16
        && 4 * covered <= 5 * height * width
        && shape.batch * covered / (TILE * TILE) >= FEWEST
}

/// The tiles of a batch of planes: rows of tiles are counted through all images.
#[derive(Clone, Copy, Debug)]
struct Tiling {
    /// Rows of tiles per image, and tiles per row.
    rows: usize,
    columns: usize,
}

impl Tiling {
    fn new(size: [usize; 2]) -> Self {
        Self {
            rows: size[0].div_ceil(TILE),
            columns: size[1].div_ceil(TILE),
        }
    }
}

impl Tiling {
    /// The parts of a range of rows of tiles, image by image.
    fn strips(&self, range: Range<usize>) -> impl Iterator<Item = Strip> + use<> {
        let (per_image, columns) = (self.rows, self.columns);
        (range.start / per_image..range.end.div_ceil(per_image)).map(move |image| {
            let begin = range.start.max(image * per_image);
            let end = range.end.min((image + 1) * per_image);
            Strip {
                image,
                rows: begin - image * per_image..end - image * per_image,
                first_tile: (begin - range.start) * columns,
            }
        })
    }
}

/// Rows of tiles of one image.
#[derive(Clone, Debug)]
struct Strip {
    image: usize,
    rows: Range<usize>,
    /// The place of the first tile among a task's.
    first_tile: usize,
}

impl Strip {
    /// The place among a task's tiles, row and column of each tile.
    #[inline(always)]
    fn tiles(&self, columns: usize) -> impl Iterator<Item = (usize, [usize; 2])> + use<> {
        let (rows, first) = (self.rows.clone(), self.first_tile);
        (0..rows.len() * columns)
            .map(move |tile| (first + tile, [rows.start + tile / columns, tile % columns]))
    }
}

/// Planes of which patches are read.
#[derive(Clone, Copy)]
struct Planes<'a> {
    values: &'a [f32],
    /// Channels per image.
    channels: usize,
    size: [usize; 2],
}

/// A few rows of one image, a register of channels per position.
struct Band<'a> {
    values: &'a [f32],
    top: usize,
    height: usize,
    width: usize,
}

impl Planes<'_> {
    /// Lays rows `top` to `top + height` of some channels of an image out, a register per position.
    /// `count` is at most a register's lanes; the others are cleared.
    #[inline(always)]
    fn band<'b, V: Lanes>(
        &self,
        image: usize,
        [first, count]: [usize; 2],
        [top, height]: [usize; 2],
        to: &'b mut [f32],
    ) -> Band<'b> {
        let [plane_height, width] = self.size;
        let plane = plane_height * width;
        let start = (image * self.channels + first) * plane + top * width;
        assert!(top + height <= plane_height && to.len() >= height * width * V::N);
        assert!(start + (count - 1) * plane + height * width <= self.values.len());
        if count < V::N {
            to.fill(0.0);
        }
        // SAFETY: the last channel's rows and the room for all positions were just checked.
        unsafe {
            let from = Rows {
                start: self.values.as_ptr().add(start),
                pitch: plane,
            };
            let to = Rows {
                start: to.as_mut_ptr(),
                pitch: V::N,
            };
            transpose::<V>(from, [count, height * width], to);
        }
        Band {
            values: to,
            top,
            height,
            width,
        }
    }
}

/// Which squares of some planes are transformed, and how they lie.
#[derive(Clone, Copy)]
struct Squares<'a> {
    planes: Planes<'a>,
    tiling: Tiling,
    /// Zeros before the planes' first row and column.
    padding: [usize; 2],
}

impl Squares<'_> {
    /// Transforms the squares of one strip and up to a register of channels into a column of `to`.
    /// Each is `I` wide, and one tile on from the last. Returns the rows that were read.
    #[inline(always)]
    fn transform<'b, V: Lanes, M: Map<I, PATCH>, const I: usize>(
        &self,
        strip: &Strip,
        channels: [usize; 2],
        band: &'b mut [f32],
        (to, column): (&mut Matrices, usize),
    ) -> Band<'b> {
        let height = self.planes.size[0];
        let top = (strip.rows.start * TILE)
            .saturating_sub(self.padding[0])
            .min(height);
        let bottom = (strip.rows.end * TILE + I - TILE)
            .saturating_sub(self.padding[0])
            .min(height);
        let rows = [top, bottom.max(top) - top];
        let band = self.planes.band::<V>(strip.image, channels, rows, band);
        for (tile, at) in strip.tiles(self.tiling.columns) {
            let corner =
                [0, 1].map(|axis| (at[axis] * TILE) as isize - self.padding[axis] as isize);
            both::<V, M, I, PATCH>(&band.patch(corner), &to.put::<V>(tile, column));
        }
        band
    }
}

impl Band<'_> {
    /// A row of lanes for each position.
    fn positions(&self, lanes: usize) -> &[f32] {
        &self.values[..self.height * self.width * lanes]
    }

    /// The positions from `corner` on, zero where they lie outside.
    #[inline(always)]
    fn patch(&self, [y, x]: [isize; 2]) -> Patch<'_> {
        Patch {
            band: self,
            corner: [y - self.top as isize, x],
        }
    }
}

/// A square of positions of a band, some of which may lie outside.
struct Patch<'a> {
    band: &'a Band<'a>,
    /// Row and column of the first, counted from the band's.
    corner: [isize; 2],
}

/// What is read outside a band.
static OUTSIDE: [f32; WIDEST] = [0.0; WIDEST];

impl<V: Lanes> Read<V> for Patch<'_> {
    #[inline(always)]
    fn read(&self, row: usize, column: usize) -> V {
        let (band, [y, x]) = (self.band, self.corner);
        let [y, x] = [
            y.wrapping_add_unsigned(row),
            x.wrapping_add_unsigned(column),
        ];
        // Negative ones are larger than any size.
        let inside = (y as usize) < band.height && (x as usize) < band.width;
        let from = band.values.as_ptr();
        let from = match inside {
            true => from.wrapping_add((y as usize * band.width + x as usize) * V::N),
            false => OUTSIDE.as_ptr(),
        };
        // SAFETY: a position inside has a register in the band, and `OUTSIDE` has room for the widest register.
        unsafe { V::load(from) }
    }
}

/// How 36 matrices of one size lie one after the other.
#[derive(Clone, Copy, Debug)]
struct Layout {
    /// A row for each tile.
    tiles: usize,
    /// Floats per row.
    pitch: usize,
    /// Floats from one matrix to the next: an odd number of cache lines, so that one place of all
    /// 36 falls on as many different sets of a cache.
    step: usize,
}

impl Layout {
    fn new(tiles: usize, pitch: usize) -> Self {
        Self {
            tiles,
            pitch,
            step: ((tiles * pitch).div_ceil(LINE) | 1) * LINE,
        }
    }

    /// Floats of all 36.
    fn len(&self) -> usize {
        POINTS * self.step
    }

    /// Where one of the 36 lies.
    fn point(&self, point: usize) -> Range<usize> {
        point * self.step..point * self.step + self.tiles * self.pitch
    }
}

/// 36 matrices with one row per tile.
struct Matrices<'a> {
    values: &'a mut [f32],
    layout: Layout,
}

impl<'a> Matrices<'a> {
    /// Room for the matrices is at the beginning of `values`.
    fn new(values: &'a mut [f32], layout: Layout) -> Self {
        Self {
            values: &mut values[..layout.len()],
            layout,
        }
    }

    /// One of the 36.
    fn point(&self, point: usize) -> &[f32] {
        &self.values[self.layout.point(point)]
    }

    fn point_mut(&mut self, point: usize) -> &mut [f32] {
        &mut self.values[self.layout.point(point)]
    }

    /// Where one register of each matrix is written.
    #[inline(always)]
    fn put<V: Lanes>(&mut self, tile: usize, column: usize) -> Square<*mut f32> {
        let at = self.place::<V>(tile, column);
        let start = self.values[at..].as_mut_ptr();
        self.square(start)
    }

    /// Where one register of each matrix is read.
    #[inline(always)]
    fn take<V: Lanes>(&self, tile: usize, column: usize) -> Square<*const f32> {
        let at = self.place::<V>(tile, column);
        let start = self.values[at..].as_ptr();
        self.square(start)
    }

    /// The place of a register in the first matrix. All 36 hold it.
    #[inline(always)]
    fn place<V: Lanes>(&self, tile: usize, column: usize) -> usize {
        let Layout { pitch, step, .. } = self.layout;
        let at = tile * pitch + column;
        assert!((POINTS - 1) * step + at + V::N <= self.values.len());
        at
    }

    #[inline(always)]
    fn square<P>(&self, start: P) -> Square<P> {
        Square {
            start,
            row: PATCH * self.layout.step,
            column: self.layout.step,
        }
    }
}
