//! Maps as rows of tokens, and back: the transposes of matrices on all threads.

use super::output::{Shared, written_by};
use super::simd::transpose::{Rows, transpose};
use super::simd::{Isa, Kernel, Lanes};
use rayon::prelude::*;

/// Rows and columns of a matrix per task: whole registers of every instruction set.
const ROWS: usize = 1024;
const COLUMNS: usize = 64;

/// The transpose of each of the matrices of `rows` by `columns` that follow each other.
pub(crate) fn transposed(isa: Isa, x: &[f32], [rows, columns]: [usize; 2]) -> Vec<f32> {
    assert!(rows * columns > 0 && x.len().is_multiple_of(rows * columns));
    let parts = [rows.div_ceil(ROWS), columns.div_ceil(COLUMNS)];
    let tasks = x.len() / (rows * columns) * parts[0] * parts[1];
    // SAFETY: the tasks write all rows and columns of all matrices, each its own.
    unsafe {
        written_by(x.len(), |y| {
            let y = &Shared(y.as_mut_ptr().cast());
            (0..tasks).into_par_iter().for_each(|task| {
                let (row, column) = (task / parts[1] % parts[0] * ROWS, task % parts[1] * COLUMNS);
                let matrix = task / parts[1] / parts[0] * rows * columns;
                isa.run(Block {
                    from: Rows {
                        start: x[matrix + row * columns + column..].as_ptr(),
                        pitch: columns,
                    },
                    size: [ROWS.min(rows - row), COLUMNS.min(columns - column)],
                    to: Rows {
                        start: y.0.add(matrix + column * rows + row),
                        pitch: rows,
                    },
                });
            });
        })
    }
}

/// A block of a matrix. Whoever makes one vouches for what [`transpose`] asks.
struct Block {
    from: Rows<*const f32>,
    size: [usize; 2],
    to: Rows<*mut f32>,
}

impl Kernel for Block {
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

    /// Fewer, as many and more rows and columns than a task has, and such as fill no register.
    #[test]
    fn rows_become_columns() {
        for [matrices, rows, columns] in [[1, 1, 1], [2, 3, 64], [3, 17, 65], [1, 1500, 70]] {
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
