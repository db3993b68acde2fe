//! GELU as a gate, with the error function that the framework's GELU has, so that both give the same bits.

use super::erf::erf;
use super::output::written_by;
use super::simd::{Isa, Kernel, Lanes};
use rayon::prelude::*;
use std::f32::consts::SQRT_2;
use std::mem::MaybeUninit;

/// Numbers of the result that a task has at least: the error function is dozens of operations for each.
const LEAST: usize = 1 << 13;

/// For each row of `row` numbers, its first half times GELU of its second.
pub(crate) fn geglu(isa: Isa, x: &[f32], row: usize) -> Vec<f32> {
    assert!(row > 0 && row.is_multiple_of(2) && x.len().is_multiple_of(row));
    let width = row / 2;
    let rows = LEAST.div_ceil(width);
    // SAFETY: each task writes its rows, and all rows have a task.
    unsafe {
        written_by(x.len() / 2, |y| {
            let parts = y.par_chunks_mut(rows * width).zip(x.par_chunks(rows * row));
            parts.for_each(|(y, x)| isa.run(Rows { x, width, y }));
        })
    }
}

/// Some rows.
struct Rows<'a> {
    x: &'a [f32],
    /// Numbers of a row of the result.
    width: usize,
    y: &'a mut [MaybeUninit<f32>],
}

impl Kernel for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self) {
        let rows = self.x.chunks_exact(2 * self.width);
        for (y, x) in self.y.chunks_exact_mut(self.width).zip(rows) {
            let (values, gates) = x.split_at(self.width);
            for ((y, value), gate) in y.iter_mut().zip(values).zip(gates) {
                y.write(value * gelu(*gate));
            }
        }
    }
}

#[inline(always)]
fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x / SQRT_2))
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
        for isa in Isa::available() {
            let y = geglu(isa, &[2.0, -3.0, 1.0, -2.0, 5.0, 7.0, 0.0, 0.0], 4);
            assert_eq!(y, [2.0 * gelu(1.0), -3.0 * gelu(-2.0), 0.0, 0.0]);
        }
    }

    #[test]
    fn threads_do_not_change_the_result() {
        let x = values(1, 90 * 2 * 300);
        assert_same_bits(|| {
            let sets = Isa::available().into_iter();
            sets.map(|isa| geglu(isa, &x, 600)).collect()
        });
    }
}
