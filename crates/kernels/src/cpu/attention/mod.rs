//! Scaled dot-product attention, `softmax(q kᵀ / sqrt(dim)) v`, without the matrix of scores.
//!
//! Scores exist for one block of queries by one block of keys at a time, with the queries along the
//! lanes: keys and values are then read where they lie, and a softmax never looks across lanes. The
//! forward pass keeps the running maximum and sum of each query, and returns the logarithm of the
//! sum; with it the backward pass computes the same probabilities again, block by block.

mod backward;
mod forward;

#[cfg(test)]
mod tests;

pub(crate) use backward::{Saved, backward};
pub(crate) use forward::forward;

use super::product::Left;
use super::simd::Lanes;
use super::simd::transpose::{Rows, transpose};
use std::ops::Range;

/// Queries per block: two of the widest registers.
const QUERIES: usize = 32;
/// Keys per block.
const KEYS: usize = 128;

/// The sizes of one attention.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Batch times heads.
    pub(crate) heads: usize,
    /// Queries per head.
    pub(crate) tokens: usize,
    /// Keys per head.
    pub(crate) context: usize,
    /// Floats per query, key and value.
    pub(crate) dim: usize,
}

impl Shape {
    fn scale(&self) -> f32 {
        (1.0 / (self.dim as f64).sqrt()) as f32
    }
}

/// The queries, keys or values of all heads, as they lie: those of a head need not follow each other.
#[derive(Clone, Copy)]
pub(crate) struct Heads<'a> {
    pub(crate) values: &'a [f32],
    /// Heads of an image.
    pub(crate) per_image: usize,
    /// Floats from an image to the next, from a head to the next, and from a row to the next.
    pub(crate) steps: [usize; 3],
}

impl<'a> Heads<'a> {
    /// Some rows of a head, counted through all images.
    fn rows(&self, head: usize, rows: Range<usize>, dim: usize) -> Left<'a> {
        let [of_image, of_head, pitch] = self.steps;
        let place = [head / self.per_image, head % self.per_image, rows.start];
        let start = place[0] * of_image + place[1] * of_head + place[2] * pitch;
        Left {
            values: &self.values[start..][..(rows.len() - 1) * pitch + dim],
            pitch,
        }
    }
}

/// Lays `count` rows of `dim` floats, at most [`QUERIES`], as columns, filled up with zeros.
#[inline(always)]
fn lay_columns<V: Lanes>(from: Left, [count, dim]: [usize; 2], to: &mut [f32]) {
    assert!(count <= QUERIES && to.len() >= dim * QUERIES);
    assert!((count - 1) * from.pitch + dim <= from.values.len());
    if count < QUERIES {
        to.fill(0.0);
    }
    let from = Rows {
        start: from.values.as_ptr(),
        pitch: from.pitch,
    };
    // SAFETY: `from` has `count` rows of `dim` floats, and `to` holds `dim` rows of at least
    // `count`.
    unsafe {
        transpose::<V>(
            from,
            [count, dim],
            Rows {
                start: to.as_mut_ptr(),
                pitch: QUERIES,
            },
        )
    }
}

/// The reverse of [`lay_columns`]: `count` rows out of the first of the columns.
///
/// # Safety
/// `to` is writable for `count` rows of `dim` floats.
#[inline(always)]
unsafe fn lay_rows<V: Lanes>(from: &[f32], [count, dim]: [usize; 2], to: Rows<*mut f32>) {
    assert!(count <= QUERIES && from.len() >= dim * QUERIES);
    let from = Rows {
        start: from.as_ptr(),
        pitch: QUERIES,
    };
    // SAFETY: as above, the other way round.
    unsafe { transpose::<V>(from, [dim, count], to) }
}
