//! Matrix products whose factors are rounded to bf16: one instruction multiplies two pairs of numbers
//! and adds both products in f32 (AVX512-BF16), twice as many as an f32 instruction.
//!
//! Factors are laid out in pairs: two neighbours along the axis that is summed over lie in the 32 bits
//! of one float, the first in the low half. A last one without a neighbour is paired with zero.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

/// Columns of a tile: two registers.
const COLUMNS: usize = 32;

/// The instructions for such products. A value exists only where the processor has them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dot(());

/// The left factor of a product, in pairs.
#[derive(Clone, Copy)]
pub(crate) struct Left<'a> {
    pub(crate) pairs: &'a [f32],
    /// From a row to the next, and from a pair to the next.
    pub(crate) steps: [usize; 2],
}

impl Dot {
    /// The instructions, where the processor has them.
    pub(crate) fn find() -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16") {
            return Some(Self(()));
        }
        None
    }

    /// Lays neighbours in a row out in pairs.
    pub(crate) fn pairs_of_row(self, row: &[f32], to: &mut [f32]) {
        assert_eq!(to.len(), row.len().div_ceil(2));
        // SAFETY: a `Dot` exists only where the processor has the instructions.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            pairs_of_row(row, to);
        }
    }

    /// Lays two rows out in pairs; the second is zero where it is absent.
    pub(crate) fn pairs_of_rows(self, first: &[f32], second: Option<&[f32]>, to: &mut [f32]) {
        assert_eq!(to.len(), first.len());
        assert!(second.is_none_or(|second| second.len() == first.len()));
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            pairs_of_rows(first, second, to);
        }
    }

    /// `c = a b`, or `c += a b` where `ADD`, for `a` of `rows` rows of `pairs` pairs. `b` and `c` have
    /// rows of `b_pitch` pairs and `c_pitch` floats; `width`, the columns computed, is a multiple of 32.
    pub(crate) fn product<const ADD: bool>(
        self,
        a: Left,
        [rows, pairs, width]: [usize; 3],
        (b, b_pitch): (&[f32], usize),
        (c, c_pitch): (&mut [f32], usize),
    ) {
        if rows == 0 || pairs == 0 || width == 0 {
            return;
        }
        let [of_row, of_pair] = a.steps;
        assert!((rows - 1) * of_row + (pairs - 1) * of_pair < a.pairs.len());
        assert!((pairs - 1) * b_pitch + width <= b.len());
        assert!((rows - 1) * c_pitch + width <= c.len() && width.is_multiple_of(COLUMNS));
        // SAFETY: the processor has the instructions, and what is read and written was just checked.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            for column in (0..width).step_by(COLUMNS) {
                let a = (a.pairs.as_ptr(), a.steps);
                let b = (b.as_ptr().add(column), b_pitch);
                strip::<ADD>(a, [rows, pairs], b, (c.as_mut_ptr().add(column), c_pitch));
            }
        }
    }
}

/// # Safety
/// The processor has the instructions; `to` has half as many floats as `row`, rounded up.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn pairs_of_row(row: &[f32], to: &mut [f32]) {
    for (row, to) in row.chunks(32).zip(to.chunks_mut(16)) {
        // SAFETY: only the floats of the two slices are read and written.
        unsafe {
            let low = load(row);
            let high = load(row.get(16..).unwrap_or_default());
            let pairs = _mm512_cvtne2ps_pbh(high, low);
            store(std::mem::transmute::<__m512bh, __m512i>(pairs), to);
        }
    }
}

/// # Safety
/// The processor has the instructions; all slices have the same length.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn pairs_of_rows(first: &[f32], second: Option<&[f32]>, to: &mut [f32]) {
    for (number, to) in to.chunks_mut(16).enumerate() {
        let places = number * 16..number * 16 + to.len();
        // SAFETY: only the floats of the slices are read and written.
        unsafe {
            let half = |row: &[f32]| {
                let rounded = _mm512_cvtneps_pbh(load(&row[places.clone()]));
                _mm512_cvtepu16_epi32(std::mem::transmute::<__m256bh, __m256i>(rounded))
            };
            let pair = match second {
                None => half(first),
                Some(second) => _mm512_or_si512(half(first), _mm512_slli_epi32::<16>(half(second))),
            };
            store(pair, to);
        }
    }
}

/// The first sixteen floats, with zeros in place of missing ones.
///
/// # Safety
/// The processor has AVX-512F.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn load(from: &[f32]) -> __m512 {
    // SAFETY: the mask covers floats of the slice only.
    unsafe { _mm512_maskz_loadu_ps(first_lanes(from.len()), from.as_ptr()) }
}

/// Writes to a slice of at most sixteen floats.
///
/// # Safety
/// The processor has AVX-512F.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn store(pairs: __m512i, to: &mut [f32]) {
    // SAFETY: the mask covers floats of the slice only.
    unsafe { _mm512_mask_storeu_epi32(to.as_mut_ptr().cast(), first_lanes(to.len()), pairs) }
}

/// The mask of so many lanes, at most sixteen.
#[cfg(target_arch = "x86_64")]
fn first_lanes(count: usize) -> __mmask16 {
    ((1u32 << count.min(16)) - 1) as __mmask16
}

/// All rows of a tile's columns, the tallest tiles first.
///
/// # Safety
/// As for [`tile`], for all `rows`.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn strip<const ADD: bool>(
    (a, steps): (*const f32, [usize; 2]),
    [rows, pairs]: [usize; 2],
    b: (*const f32, usize),
    (c, c_pitch): (*mut f32, usize),
) {
    let mut row = 0;
    // SAFETY: the caller's promise.
    unsafe {
        while row < rows {
            let (a, c) = (
                (a.add(row * steps[0]), steps),
                (c.add(row * c_pitch), c_pitch),
            );
            row += match rows - row {
                12.. => tile::<12, ADD>(a, pairs, b, c),
                4.. => tile::<4, ADD>(a, pairs, b, c),
                _ => tile::<1, ADD>(a, pairs, b, c),
            };
        }
    }
}

/// `R` rows of two registers. Returns how many rows those are.
///
/// # Safety
/// The processor has the instructions. The left factor is readable for `R` rows of `pairs` pairs, `b` for
/// `pairs` rows of two registers; `c` is readable and writable for `R` such rows.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn tile<const R: usize, const ADD: bool>(
    (a, [of_row, of_pair]): (*const f32, [usize; 2]),
    pairs: usize,
    (b, b_pitch): (*const f32, usize),
    (c, c_pitch): (*mut f32, usize),
) -> usize {
    // SAFETY: all of this function reads and writes what the caller vouches for.
    unsafe {
        let as_pairs = |x: __m512| std::mem::transmute::<__m512, __m512bh>(x);
        let mut sums = [[_mm512_setzero_ps(); 2]; R];
        if ADD {
            for r in 0..R {
                for w in 0..2 {
                    sums[r][w] = _mm512_loadu_ps(c.add(r * c_pitch + 16 * w));
                }
            }
        }
        for k in 0..pairs {
            let b = b.add(k * b_pitch);
            let right = [_mm512_loadu_ps(b), _mm512_loadu_ps(b.add(16))].map(as_pairs);
            for r in 0..R {
                let left = as_pairs(_mm512_set1_ps(*a.add(r * of_row + k * of_pair)));
                for w in 0..2 {
                    sums[r][w] = _mm512_dpbf16_ps(sums[r][w], left, right[w]);
                }
            }
        }
        for r in 0..R {
            for w in 0..2 {
                _mm512_storeu_ps(c.add(r * c_pitch + 16 * w), sums[r][w]);
            }
        }
    }
    R
}
