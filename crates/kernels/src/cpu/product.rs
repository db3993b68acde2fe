//! Small matrix products out of registers.

use super::simd::Lanes;

/// The left factor, a matrix of which one row follows the other in steps of `pitch` floats.
#[derive(Clone, Copy)]
pub(crate) struct Left<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) pitch: usize,
}

impl Left<'_> {
    /// The rows after the first so many.
    #[inline(always)]
    pub(crate) fn skip_rows(self, rows: usize) -> Self {
        Self {
            values: &self.values[rows * self.pitch..],
            ..self
        }
    }
}

/// `c = a b`, or `c += a b` where `ADD`; with the transpose of the left factor in place of `a` if
/// `ACROSS`. `a` then has `rows` rows and `inner` columns.
///
/// `b` and `c` have rows of `b_pitch` and `c_pitch` floats; `width`, the columns computed, is a
/// multiple of the register's.
#[inline(always)]
pub(crate) fn product<V: Lanes, const ACROSS: bool, const ADD: bool>(
    a: Left,
    [rows, inner, width]: [usize; 3],
    (b, b_pitch): (&[f32], usize),
    (c, c_pitch): (&mut [f32], usize),
) {
    if rows == 0 || inner == 0 || width == 0 {
        return;
    }
    assert!((rows - 1) * c_pitch + width <= c.len());
    // SAFETY: the corner lies in `c`.
    unsafe {
        let c = (c.as_mut_ptr(), c_pitch);
        product_at::<V, ACROSS, ADD>(a, [rows, inner, width], (b, b_pitch), c);
    }
}

/// The same, for a result of which only the place is known.
///
/// # Safety
/// `width` is a multiple of the register's. The `rows` by `width` corner of `c` is writable, holds numbers
/// where `ADD`, and overlaps neither factor. With no `inner`, nothing is written.
#[inline(always)]
pub(crate) unsafe fn product_at<V: Lanes, const ACROSS: bool, const ADD: bool>(
    a: Left,
    [rows, inner, width]: [usize; 3],
    (b, b_pitch): (&[f32], usize),
    (c, c_pitch): (*mut f32, usize),
) {
    if rows == 0 || inner == 0 || width == 0 {
        return;
    }
    let [a_rows, a_columns] = if ACROSS { [inner, rows] } else { [rows, inner] };
    assert!((a_rows - 1) * a.pitch + a_columns <= a.values.len());
    assert!((inner - 1) * b_pitch + width <= b.len());
    let mut column = 0;
    // SAFETY: what is read was just checked, and `c` is the caller's promise.
    unsafe {
        let (a, b) = ((a.values.as_ptr(), a.pitch), b.as_ptr());
        while column + 2 * V::N <= width {
            let (b, c) = ((b.add(column), b_pitch), (c.add(column), c_pitch));
            strip::<V, 2, ACROSS, ADD>(a, [rows, inner], b, c);
            column += 2 * V::N;
        }
        if column < width {
            let (b, c) = ((b.add(column), b_pitch), (c.add(column), c_pitch));
            strip::<V, 1, ACROSS, ADD>(a, [rows, inner], b, c);
        }
    }
}

/// A strip of `W` registers' width, the tallest tiles first.
///
/// # Safety
/// As for [`tile`], for all `rows`.
#[inline(always)]
unsafe fn strip<V: Lanes, const W: usize, const ACROSS: bool, const ADD: bool>(
    (a, a_pitch): (*const f32, usize),
    [rows, inner]: [usize; 2],
    b: (*const f32, usize),
    (c, c_pitch): (*mut f32, usize),
) {
    let mut row = 0;
    // SAFETY: the caller's promise.
    unsafe {
        let row_step = if ACROSS { 1 } else { a_pitch };
        while V::ROWS >= 8 && row + 8 <= rows {
            let (a, c) = (
                (a.add(row * row_step), a_pitch),
                (c.add(row * c_pitch), c_pitch),
            );
            tile::<V, 8, W, ACROSS, ADD>(a, inner, b, c);
            row += 8;
        }
        while V::ROWS >= 4 && row + 4 <= rows {
            let (a, c) = (
                (a.add(row * row_step), a_pitch),
                (c.add(row * c_pitch), c_pitch),
            );
            tile::<V, 4, W, ACROSS, ADD>(a, inner, b, c);
            row += 4;
        }
        while row < rows {
            let (a, c) = (
                (a.add(row * row_step), a_pitch),
                (c.add(row * c_pitch), c_pitch),
            );
            tile::<V, 1, W, ACROSS, ADD>(a, inner, b, c);
            row += 1;
        }
    }
}

/// `R` rows of `W` registers.
///
/// # Safety
/// The left factor is readable for `R` of the result's rows and `inner` columns, `b` for `inner`
/// rows of `W` registers; `c` is readable and writable for `R` such rows.
#[inline(always)]
unsafe fn tile<V: Lanes, const R: usize, const W: usize, const ACROSS: bool, const ADD: bool>(
    (a, a_pitch): (*const f32, usize),
    inner: usize,
    (b, b_pitch): (*const f32, usize),
    (c, c_pitch): (*mut f32, usize),
) {
    // SAFETY: all of this function reads and writes what the caller vouches for.
    unsafe {
        let mut acc = [[V::splat(0.0); W]; R];
        let mut rows = [a; R];
        for r in 0..R {
            rows[r] = a.add(r * if ACROSS { 1 } else { a_pitch });
            if ADD {
                for w in 0..W {
                    acc[r][w] = V::load(c.add(r * c_pitch + w * V::N));
                }
            }
        }
        for k in 0..inner {
            let mut right = [V::splat(0.0); W];
            for w in 0..W {
                right[w] = V::load(b.add(k * b_pitch + w * V::N));
            }
            for r in 0..R {
                let left = if ACROSS {
                    a.add(k * a_pitch + r)
                } else {
                    rows[r].add(k)
                };
                let left = V::splat(*left);
                for w in 0..W {
                    acc[r][w] = left.mul_add(right[w], acc[r][w]);
                }
            }
        }
        for r in 0..R {
            for w in 0..W {
                acc[r][w].store(c.add(r * c_pitch + w * V::N));
            }
        }
    }
}
