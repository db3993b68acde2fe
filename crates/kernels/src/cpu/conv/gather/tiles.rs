//! The register tiles of sums with channels along the lanes.

use crate::cpu::simd::Lanes;

/// Full rows of positions, and what their sums are made of.
pub(super) struct Tiles<'a> {
    pub(super) from: &'a [f32],
    /// Floats of `from` from one row of positions to the next, and from one position to the next.
    pub(super) row_step: usize,
    pub(super) stride: usize,
    pub(super) offsets: &'a [usize],
    pub(super) weights: &'a [f32],
    pub(super) width: usize,
    pub(super) sums: &'a mut [f32],
}

/// Adds to all sums, the widest tiles of each row first, with `W` registers of channels.
/// `S` is the stride where it is known when compiling, else 0.
#[inline(always)]
pub(super) fn rows_of_tiles<V: Lanes, const W: usize, const S: usize>(tiles: Tiles) {
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
        // SAFETY: no tile reads `from` after the last offset of the last position, just checked,
        // and each has a row of lanes in `sums` for every position.
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
/// From the first pointer, every offset plus `(P - 1) * stride` is readable; at the second, `P`
/// rows of two registers are readable and writable; `weights` has a row of two registers for each
/// offset.
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
