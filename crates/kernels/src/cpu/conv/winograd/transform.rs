//! The transforms of F(4x4, 3x3): between 6x6 patches of the input, 3x3 kernels, 4x4 tiles of the
//! output, and the 6x6 products in between.
//!
//! The points are 0, ±1/√2, ±√2 and infinity. Reciprocal pairs keep all coefficients near one:
//! rounding errors are about twice those of direct convolution, where the usual 0, ±1, ±2 give four
//! times.
//!
//! With A, B and G the matrices of these points, a tile is `Aᵀ [(G g Gᵀ) ∘ (Bᵀ d B)] A` for a patch
//! d and a kernel g. The gradients apply the same matrices the other way round.

use crate::cpu::simd::Lanes;
use std::f32::consts::{FRAC_1_SQRT_2, SQRT_2};
use std::mem::MaybeUninit;

/// Width of a tile of the output.
pub(super) const TILE: usize = 4;
/// Width of a patch of the input, and of its transform.
pub(super) const PATCH: usize = 6;
/// Values of a transformed patch.
pub(super) const POINTS: usize = PATCH * PATCH;

/// A linear map of `I` registers to `O`.
pub(super) trait Map<const I: usize, const O: usize> {
    fn apply<V: Lanes>(from: [V; I]) -> [V; O];
}

/// Where the registers of a square are read from.
pub(super) trait Read<V> {
    fn read(&self, row: usize, column: usize) -> V;
}

/// Where the registers of a square are written to.
pub(super) trait Write<V> {
    fn write(&self, row: usize, column: usize, value: V);
}

/// A square in memory: its first register, and the floats from one row and one column to the next.
/// Whoever makes one vouches that all registers of the square are readable, or writable.
#[derive(Clone, Copy)]
pub(super) struct Square<P> {
    pub(super) start: P,
    pub(super) row: usize,
    pub(super) column: usize,
}

impl<V: Lanes> Read<V> for Square<*const f32> {
    #[inline(always)]
    fn read(&self, row: usize, column: usize) -> V {
        // SAFETY: the promise of whoever made it.
        unsafe { V::load(self.start.add(row * self.row + column * self.column)) }
    }
}

impl<V: Lanes> Write<V> for Square<*mut f32> {
    #[inline(always)]
    fn write(&self, row: usize, column: usize, value: V) {
        // SAFETY: the promise of whoever made it.
        unsafe { value.store(self.start.add(row * self.row + column * self.column)) }
    }
}

/// Applies a map to the columns and then to the rows of a square. Registers are read and written one by
/// one where they are needed: whole squares do not fit into registers, and would be copied.
#[inline(always)]
pub(super) fn both<V: Lanes, M: Map<I, O>, const I: usize, const O: usize>(
    from: &impl Read<V>,
    to: &impl Write<V>,
) {
    let mut half = [[MaybeUninit::uninit(); I]; O];
    for column in 0..I {
        let mut values = [V::splat(0.0); I];
        for row in 0..I {
            values[row] = from.read(row, column);
        }
        let mapped = M::apply(values);
        for row in 0..O {
            half[row][column].write(mapped[row]);
        }
    }
    for row in 0..O {
        let mut values = [V::splat(0.0); I];
        for column in 0..I {
            // SAFETY: all columns of all rows were written.
            values[column] = unsafe { half[row][column].assume_init() };
        }
        let mapped = M::apply(values);
        for column in 0..O {
            to.write(row, column, mapped[column]);
        }
    }
}

/// `Bᵀ`: a patch of the input.
pub(super) struct Input;

impl Map<PATCH, PATCH> for Input {
    #[inline(always)]
    fn apply<V: Lanes>(d: [V; 6]) -> [V; 6] {
        let c = V::splat;
        let (even_a, odd_a) = (d[2].mul_add(c(-2.0), d[4]), d[1].mul_add(c(-2.0), d[3]));
        let (even_b, odd_b) = (d[2].mul_add(c(-0.5), d[4]), d[1].mul_add(c(-0.5), d[3]));
        [
            d[2].mul_add(c(-2.5), d[0].add(d[4])),
            odd_a.mul_add(c(FRAC_1_SQRT_2), even_a),
            odd_a.mul_add(c(-FRAC_1_SQRT_2), even_a),
            odd_b.mul_add(c(SQRT_2), even_b),
            odd_b.mul_add(c(-SQRT_2), even_b),
            d[3].mul_add(c(-2.5), d[1].add(d[5])),
        ]
    }
}

/// `Aᵀ`: the products of a tile.
pub(super) struct Output;

impl Map<PATCH, TILE> for Output {
    #[inline(always)]
    fn apply<V: Lanes>(m: [V; 6]) -> [V; 4] {
        let c = V::splat;
        let (sum_a, difference_a) = (m[1].add(m[2]), m[1].sub(m[2]));
        let (sum_b, difference_b) = (m[3].add(m[4]), m[3].sub(m[4]));
        let odd = difference_a.mul(c(FRAC_1_SQRT_2));
        [
            m[0].add(sum_a).add(sum_b),
            difference_b.mul_add(c(SQRT_2), odd),
            sum_a.mul_add(c(0.5), sum_b.mul(c(2.0))),
            odd.mul_add(c(0.5), difference_b.mul_add(c(2.0 * SQRT_2), m[5])),
        ]
    }
}

/// `A`: the gradient of a tile.
pub(super) struct OutputGrad;

impl Map<TILE, PATCH> for OutputGrad {
    #[inline(always)]
    fn apply<V: Lanes>(y: [V; 4]) -> [V; 6] {
        let c = V::splat;
        let (even_a, odd_a) = (y[2].mul_add(c(0.5), y[0]), y[3].mul_add(c(0.5), y[1]));
        let (even_b, odd_b) = (y[2].mul_add(c(2.0), y[0]), y[3].mul_add(c(2.0), y[1]));
        [
            y[0],
            odd_a.mul_add(c(FRAC_1_SQRT_2), even_a),
            odd_a.mul_add(c(-FRAC_1_SQRT_2), even_a),
            odd_b.mul_add(c(SQRT_2), even_b),
            odd_b.mul_add(c(-SQRT_2), even_b),
            y[3],
        ]
    }
}

/// The scale of G's rows for the points ±1/√2, and for ±√2.
const SCALES: [f32; 2] = [-2.0 / 3.0, 1.0 / 6.0];

/// `G`: a kernel.
pub(super) struct Weight;

impl Map<3, PATCH> for Weight {
    #[inline(always)]
    fn apply<V: Lanes>(g: [V; 3]) -> [V; 6] {
        let c = V::splat;
        let (even_a, odd_a) = (g[2].mul_add(c(0.5), g[0]), g[1].mul(c(FRAC_1_SQRT_2)));
        let (even_b, odd_b) = (g[2].mul_add(c(2.0), g[0]), g[1].mul(c(SQRT_2)));
        [
            g[0],
            even_a.add(odd_a).mul(c(SCALES[0])),
            even_a.sub(odd_a).mul(c(SCALES[0])),
            even_b.add(odd_b).mul(c(SCALES[1])),
            even_b.sub(odd_b).mul(c(SCALES[1])),
            g[2],
        ]
    }
}

/// `Gᵀ`: the gradient of a transformed kernel.
pub(super) struct WeightGrad;

impl Map<PATCH, 3> for WeightGrad {
    #[inline(always)]
    fn apply<V: Lanes>(u: [V; 6]) -> [V; 3] {
        let c = V::splat;
        let (sum_a, difference_a) = (
            u[1].add(u[2]).mul(c(SCALES[0])),
            u[1].sub(u[2]).mul(c(SCALES[0])),
        );
        let (sum_b, difference_b) = (
            u[3].add(u[4]).mul(c(SCALES[1])),
            u[3].sub(u[4]).mul(c(SCALES[1])),
        );
        [
            u[0].add(sum_a).add(sum_b),
            difference_a.mul_add(c(FRAC_1_SQRT_2), difference_b.mul(c(SQRT_2))),
            sum_a.mul_add(c(0.5), sum_b.mul_add(c(2.0), u[5])),
        ]
    }
}
