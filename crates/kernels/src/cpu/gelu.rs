//! GELU as a gate, with the error function that the framework's GELU has, so that both give the same bits.

use rayon::prelude::*;
use std::f32::consts::SQRT_2;

/// Numbers of the result that a task has at least: the error function takes some 10 ns for each.
const LEAST: usize = 1 << 12;

/// For each row of `row` numbers, its first half times GELU of its second.
pub(crate) fn geglu(x: &[f32], row: usize) -> Vec<f32> {
    let width = row / 2;
    let rows = LEAST.div_ceil(width);
    let mut y = vec![0.0; x.len() / 2];
    let parts = y.par_chunks_mut(rows * width).zip(x.par_chunks(rows * row));
    parts.for_each(|(y, x)| {
        for (y, x) in y.chunks_exact_mut(width).zip(x.chunks_exact(row)) {
            let (values, gates) = x.split_at(width);
            for ((y, value), gate) in y.iter_mut().zip(values).zip(gates) {
                *y = value * gelu(*gate);
            }
        }
    });
    y
}

fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + libm::erff(x / SQRT_2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::testing::{assert_same_bits, values};

    /// Known values of the normal distribution: GELU is x times its distribution function.
    #[test]
    fn gates_are_those_of_the_normal_distribution() {
        for (x, below) in [(0.0, 0.5), (1.0, 0.841_344_75), (-2.0, 0.022_750_13)] {
            assert!((f64::from(gelu(x as f32)) - x * below).abs() < 1e-7, "{x}");
        }
        let y = geglu(&[2.0, -3.0, 1.0, -2.0, 5.0, 7.0, 0.0, 0.0], 4);
        assert_eq!(y, [2.0 * gelu(1.0), -3.0 * gelu(-2.0), 0.0, 0.0]);
    }

    #[test]
    fn threads_do_not_change_the_result() {
        let x = values(1, 90 * 2 * 300);
        assert_same_bits(|| vec![geglu(&x, 600)]);
    }
}
