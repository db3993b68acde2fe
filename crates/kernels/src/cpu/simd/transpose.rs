//! Transposition of whole matrices.

use super::Lanes;

/// A matrix in memory: its first element, and the floats from one row to the next.
#[derive(Clone, Copy)]
pub(crate) struct Rows<P> {
    pub(crate) start: P,
    pub(crate) pitch: usize,
}

/// Writes the transpose of the `rows` by `columns` matrix `from` to `to`.
///
/// # Safety
/// `from` is readable, and `to` writable with rows and columns swapped; the two do not overlap.
#[inline(always)]
pub(crate) unsafe fn transpose<V: Lanes>(
    from: Rows<*const f32>,
    [rows, columns]: [usize; 2],
    to: Rows<*mut f32>,
) {
    let whole = [rows / V::N * V::N, columns / V::N * V::N];
    // SAFETY: all indices are below the two counts that the caller vouches for.
    unsafe {
        for row in (0..whole[0]).step_by(V::N) {
            for column in (0..whole[1]).step_by(V::N) {
                let source = from.start.add(row * from.pitch + column);
                V::transpose(
                    source,
                    from.pitch,
                    to.start.add(column * to.pitch + row),
                    to.pitch,
                );
            }
        }
        for row in 0..rows {
            let done = if row < whole[0] { whole[1] } else { 0 };
            for column in done..columns {
                *to.start.add(column * to.pitch + row) = *from.start.add(row * from.pitch + column);
            }
        }
    }
}
