//! Linear layers in single precision: the product that the framework's back end calls, without what it
//! does around it on one thread, so that both give the same bits.

use super::output::written_by;
use super::weights::Weights;
use gemm::Parallelism;
use rayon::prelude::*;

/// Multiply-adds from which the framework's product uses all threads.
const LEAST: usize = 192 * 192 * 192;
/// For up to so many rows and columns, the product divides its sums otherwise than for more of either.
const FEW: usize = 64;
/// Up to so many results, a weight that is a transpose has a kernel of its own.
const FEW_RESULTS: usize = 256;
/// Numbers of a task that adds the bias, or widens a weight.
const PER_TASK: usize = 1 << 16;
/// Numbers that are widened at a time: in the first-level cache.
const BLOCK: usize = 1 << 10;

/// Whether [`forward`], which multiplies the rows of all images at once, gives the bits of the framework's
/// product, which multiplies those of one image, `rows`, at a time. A single row is a product of its own kind.
pub(crate) fn fits(rows: usize, [from, to]: [usize; 2]) -> bool {
    let results = rows.saturating_mul(to);
    rows > 1 && to > FEW && results > FEW_RESULTS && results.saturating_mul(from) >= LEAST
}

/// `y = x weight + bias`, for a weight `[from, to]` of floats and rows of `from` numbers.
pub(crate) fn forward(
    [from, to]: [usize; 2],
    x: &[f32],
    weight: Weights,
    bias: Option<&[f32]>,
) -> Vec<f32> {
    let rows = x.len() / from;
    let wide;
    let weight = match weight {
        Weights::F32(weight) => weight,
        _ => {
            wide = widened(weight, from * to);
            &wide
        }
    };
    assert!(x.len() == rows * from && weight.len() == from * to);
    let [x_pitch, pitch] = [from, to].map(usize::cast_signed);
    // SAFETY: both factors and the result have as many rows and columns, in order and without gaps, and
    // every number of the result is written.
    let mut y = unsafe {
        written_by(rows * to, |y| {
            let y = y.as_mut_ptr().cast();
            let (x, weight, threads) = (x.as_ptr(), weight.as_ptr(), Parallelism::Rayon(0));
            gemm::gemm(
                rows, to, from, y, 1, pitch, false, x, 1, x_pitch, weight, 1, pitch, 0.0, 1.0,
                false, false, false, threads,
            );
        })
    };
    if let Some(bias) = bias {
        let rows = PER_TASK.div_ceil(to);
        y.par_chunks_mut(rows * to).for_each(|y| {
            for row in y.chunks_exact_mut(to) {
                row.iter_mut().zip(bias).for_each(|(y, bias)| *y += bias);
            }
        });
    }
    y
}

fn widened(weight: Weights, len: usize) -> Vec<f32> {
    // SAFETY: the parts are all numbers, and each part writes its own.
    unsafe {
        written_by(len, |wide| {
            let parts = wide.par_chunks_mut(PER_TASK).enumerate();
            parts.for_each(|(part, wide)| {
                let mut block = [0.0; BLOCK];
                for (number, wide) in wide.chunks_mut(BLOCK).enumerate() {
                    let (first, block) =
                        (part * PER_TASK + number * BLOCK, &mut block[..wide.len()]);
                    weight.write(first..first + block.len(), block);
                    wide.write_copy_of_slice(block);
                }
            });
        })
    }
}

#[cfg(test)]
mod tests {
    use super::fits;

    /// Each of the conditions on its own.
    #[test]
    fn large_layers_are_taken_where_the_order_of_sums_is_the_same() {
        for (taken, [rows, from, to]) in [
            (true, [4096, 40, 320]),
            (true, [64, 1280, 1281]),
            (true, [2, 30_000, 129]),
            (false, [191, 192, 192]),
            (false, [32, 3500, 64]),
            (false, [1, 120_000, 65]),
            (false, [2, 30_000, 128]),
        ] {
            assert_eq!(fits(rows, [from, to]), taken, "{rows}, {from}, {to}");
        }
    }
}
