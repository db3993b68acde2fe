//! Maps of twice the resolution.

use super::output::written_by;
use rayon::prelude::*;

/// Numbers that a task writes at least.
const LEAST: usize = 1 << 13;

/// Every number of the rows four times: twice in its row, and the row twice. `row` is their length.
pub(crate) fn double(x: &[f32], row: usize) -> Vec<f32> {
    let rows = LEAST.div_ceil(4 * row);
    // SAFETY: every row of the result is written: the parts of both sides have as many rows.
    unsafe {
        written_by(4 * x.len(), |y| {
            let parts = y
                .par_chunks_mut(4 * rows * row)
                .zip(x.par_chunks(rows * row));
            parts.for_each(|(y, x)| {
                for (y, x) in y.chunks_exact_mut(4 * row).zip(x.chunks_exact(row)) {
                    let (upper, lower) = y.split_at_mut(2 * row);
                    let pairs = upper.as_chunks_mut::<2>().0.iter_mut();
                    for (pair, x) in pairs.zip(x) {
                        for y in pair {
                            y.write(*x);
                        }
                    }
                    lower.copy_from_slice(upper);
                }
            });
        })
    }
}

/// The gradient of what was doubled: the sums of its four places. `row` is its length.
pub(crate) fn double_grad(dy: &[f32], row: usize) -> Vec<f32> {
    let rows = LEAST.div_ceil(4 * row);
    let mut dx = vec![0.0; dy.len() / 4];
    let parts = dx
        .par_chunks_mut(rows * row)
        .zip(dy.par_chunks(4 * rows * row));
    parts.for_each(|(dx, dy)| {
        for (dx, dy) in dx.chunks_exact_mut(row).zip(dy.chunks_exact(4 * row)) {
            let (upper, lower) = dy.split_at(2 * row);
            let pairs = upper
                .as_chunks::<2>()
                .0
                .iter()
                .zip(lower.as_chunks::<2>().0);
            for (dx, (above, below)) in dx.iter_mut().zip(pairs) {
                *dx = (above[0] + below[0]) + (above[1] + below[1]);
            }
        }
    });
    dx
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::testing::{assert_same_bits, values};

    #[test]
    fn every_number_is_there_four_times() {
        let x = [1., 2., 3., 4., 5., 6.];
        let y = double(&x, 3);
        let rows: [&[f32]; 2] = [&[1., 1., 2., 2., 3., 3.], &[4., 4., 5., 5., 6., 6.]];
        assert_eq!(y, [rows[0], rows[0], rows[1], rows[1]].concat());
        assert_eq!(double_grad(&y, 3), x.map(|x| 4.0 * x));
        let dy: Vec<f32> = (0..8).map(|i| (1 << i) as f32).collect();
        assert_eq!(
            double_grad(&dy, 2),
            [1. + 2. + 16. + 32., 4. + 8. + 64. + 128.]
        );
    }

    #[test]
    fn threads_do_not_change_the_result() {
        let x = values(1, 1000 * 36);
        assert_same_bits(|| vec![double(&x, 36), double_grad(&x, 18)]);
    }
}
