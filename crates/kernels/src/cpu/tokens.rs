//! Maps as rows of tokens, and back: the transposes of matrices on all threads.

use super::output::{Shared, written_by};
use super::simd::transpose::{Rows, transpose};
use super::simd::{Isa, Kernel, Lanes};
use rayon::prelude::*;

/// Columns of a matrix per task: whole registers of every instruction set.
const COLUMNS: usize = 64;

/// The transpose of each of the matrices of `rows` by `columns` that follow each other.
pub(crate) fn transposed(isa: Isa, x: &[f32], [rows, columns]: [usize; 2]) -> Vec<f32> {
    let parts = columns.div_ceil(COLUMNS);
    let matrices = x.len() / (rows * columns);
    // SAFETY: the tasks write all columns of all matrices, each its own.
    unsafe {
        written_by(x.len(), |y| {
            let y = &Shared(y.as_mut_ptr().cast());
            (0..matrices * parts).into_par_iter().for_each(|task| {
                let (matrix, first) = (task / parts * rows * columns, task % parts * COLUMNS);
                isa.run(Columns {
                    from: Rows {
                        start: x[matrix + first..].as_ptr(),
                        pitch: columns,
                    },
                    size: [rows, COLUMNS.min(columns - first)],
                    to: Rows {
                        start: y.0.add(matrix + first * rows),
                        pitch: rows,
                    },
                });
            });
        })
    }
}

/// Some columns of a matrix. Whoever makes one vouches for what [`transpose`] asks.
struct Columns {
    from: Rows<*const f32>,
    size: [usize; 2],
    to: Rows<*mut f32>,
}

impl Kernel for Columns {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self) {
        // SAFETY: the promise of whoever made it.
        unsafe { transpose::<V>(self.from, self.size, self.to) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::testing::{assert_same_bits, values};

    /// Fewer, as many and more columns than a task has, and rows that fill no register.
    #[test]
    fn rows_become_columns() {
        for [matrices, rows, columns] in [[1, 1, 1], [2, 3, 64], [3, 17, 65], [1, 40, 200]] {
            let x = values(1, matrices * rows * columns);
            for isa in Isa::available() {
                let y = transposed(isa, &x, [rows, columns]);
                for (at, y) in y.iter().enumerate() {
                    let (matrix, column, row) =
                        (at / (rows * columns), at / rows % columns, at % rows);
                    assert_eq!(*y, x[(matrix * rows + row) * columns + column], "{isa:?}");
                }
            }
        }
    }

    #[test]
    fn threads_do_not_change_the_result() {
        let x = values(2, 2 * 70 * 300);
        assert_same_bits(|| vec![transposed(Isa::best(), &x, [70, 300])]);
    }
}
