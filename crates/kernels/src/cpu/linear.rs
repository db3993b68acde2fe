//! Linear layers whose weights are stored in few bits, or whose factors are rounded to bf16: a panel of
//! the weight at a time is widened, or rounded, and multiplied with all rows.

use super::dot::{self, Dot};
use super::output::{Shared, written_by};
use super::product::{Left, product};
use super::scratch;
use super::simd::{Isa, Kernel, Lanes};
use super::weights::Weights;
use rayon::prelude::*;

/// Columns of a panel, a multiple of every register's lanes.
const COLUMNS: usize = 64;
/// Rows that are multiplied with a panel at a time: with the panel they fit into a second-level cache
/// of 1 MiB for layers of up to 2,000 inputs.
const ROWS: usize = 64;
/// Rows of a task, each of which widens its panel itself.
const ROWS_OF_TASK: usize = 1024;

/// `y = x weight + bias`, for a weight `[from, to]` and rows of `from` numbers. With a `dot` the
/// factors are rounded to bf16.
pub(crate) fn forward(
    isa: Isa,
    dot: Option<Dot>,
    [from, to]: [usize; 2],
    x: &[f32],
    weight: Weights,
    bias: Option<&[f32]>,
) -> Vec<f32> {
    let rows = x.len() / from;
    let (panels, parts) = (to.div_ceil(COLUMNS), rows.div_ceil(ROWS_OF_TASK));
    let rounded = dot.map(|dot| in_pairs(dot, x, from));
    let x = rounded.as_deref().unwrap_or(x);
    let inner = x.len() / rows.max(1);
    // SAFETY: the tasks cover all rows and columns, and each begins at a row of the result.
    unsafe {
        written_by(rows * to, |y| {
            let y = &Shared(y.as_mut_ptr().cast());
            (0..panels * parts).into_par_iter().for_each(|task| {
                let (panel, part) = (task / parts, task % parts);
                let first = part * ROWS_OF_TASK;
                let count = ROWS_OF_TASK.min(rows - first);
                scratch::with([inner * COLUMNS, ROWS * COLUMNS], |[wide, block]| {
                    isa.run(Task {
                        dot,
                        x: &x[first * inner..][..count * inner],
                        inner,
                        weight,
                        bias,
                        size: [from, to],
                        column: panel * COLUMNS,
                        y: y.0.add(first * to),
                        wide,
                        block,
                    });
                });
            });
        })
    }
}

/// Rows of `from` numbers as rows of pairs.
fn in_pairs(dot: Dot, x: &[f32], from: usize) -> Vec<f32> {
    let pairs = from.div_ceil(2);
    let mut rounded = vec![0.0; x.len() / from * pairs];
    let rows = rounded.par_chunks_mut(pairs).zip(x.par_chunks(from));
    rows.for_each(|(to, row)| dot.pairs_of_row(row, to));
    rounded
}

/// Some columns of some rows.
struct Task<'a> {
    dot: Option<Dot>,
    /// Rows of `inner` numbers, or pairs.
    x: &'a [f32],
    inner: usize,
    weight: Weights<'a>,
    bias: Option<&'a [f32]>,
    size: [usize; 2],
    /// The first column.
    column: usize,
    /// The first of the task's rows of the result, which is writable at the task's positions.
    y: *mut f32,
    wide: &'a mut [f32],
    block: &'a mut [f32],
}

impl Kernel for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self) {
        let [from, to] = self.size;
        let columns = COLUMNS.min(to - self.column);
        let write = |input: usize, row: &mut [f32]| {
            let (values, rest) = row.split_at_mut(columns);
            let at = input * to + self.column;
            self.weight.write(at..at + columns, values);
            rest.fill(0.0);
        };
        for (number, row) in self.wide.chunks_exact_mut(COLUMNS).enumerate() {
            match self.dot {
                None => write(number, row),
                Some(dot) => {
                    let mut of_pair = [[0.0; COLUMNS]; 2];
                    let inputs = 2 * number..from.min(2 * number + 2);
                    inputs
                        .zip(&mut of_pair)
                        .for_each(|(input, row)| write(input, row));
                    dot.pairs_of_rows(&of_pair[0], Some(&of_pair[1]), row);
                }
            }
        }
        let inner = self.inner;
        let blocks = self.x.chunks(ROWS * inner).enumerate();
        for (number, x) in blocks {
            let rows = x.len() / inner;
            for row in self.block.chunks_exact_mut(COLUMNS).take(rows) {
                match self.bias {
                    Some(bias) => row[..columns].copy_from_slice(&bias[self.column..][..columns]),
                    None => row.fill(0.0),
                }
            }
            let (wide, block) = ((&*self.wide, COLUMNS), (&mut *self.block, COLUMNS));
            let sizes = [rows, inner, COLUMNS];
            match self.dot {
                None => {
                    let left = Left {
                        values: x,
                        pitch: inner,
                    };
                    product::<V, false, true>(left, sizes, wide, block);
                }
                Some(dot) => {
                    let left = dot::Left {
                        pairs: x,
                        steps: [inner, 1],
                    };
                    dot.product::<true>(left, sizes, wide, block);
                }
            }
            for (row, values) in self.block.chunks_exact(COLUMNS).take(rows).enumerate() {
                // SAFETY: these columns of this row are the task's own.
                unsafe {
                    let y = self.y.add((number * ROWS + row) * to + self.column);
                    y.copy_from_nonoverlapping(values.as_ptr(), columns);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Sum, assert_same_bits, beyond_rounding, values};
    use super::super::weights::Blocks;
    use super::*;
    use crate::q8;
    use half::{bf16, f16};

    /// Fewer, as many and more rows and columns than a block, a panel and a task have.
    const SIZES: [[usize; 3]; 5] = [
        [1, 32, 1],
        [3, 64, 70],
        [64, 96, 64],
        [130, 32, 129],
        [1030, 64, 33],
    ];

    /// The layer in double precision, for weights that are given in single.
    fn exact(size: [usize; 3], x: &[f32], weight: &[f32], bias: Option<&[f32]>) -> Vec<Sum> {
        let [rows, from, to] = size;
        let mut y = vec![Sum::default(); rows * to];
        for (at, sum) in y.iter_mut().enumerate() {
            let (row, column) = (at / to, at % to);
            if let Some(bias) = bias {
                sum.add(f64::from(bias[column]));
            }
            for input in 0..from {
                let (x, weight) = (x[row * from + input], weight[input * to + column]);
                sum.add(f64::from(x) * f64::from(weight));
            }
        }
        y
    }

    #[test]
    fn equals_its_definition_for_weights_of_every_type() {
        for size in SIZES {
            let [rows, from, to] = size;
            let (x, weight) = (values(1, rows * from), values(2, from * to));
            let bias = values(3, to);
            let f16s: Vec<f16> = weight.iter().copied().map(f16::from_f32).collect();
            let bf16s: Vec<bf16> = weight.iter().copied().map(bf16::from_f32).collect();
            let (numbers, scales) = blocks(&weight, to);
            let q8 = Blocks {
                numbers: &numbers,
                scales: &scales,
                behind: to,
            };
            let widened = numbers.iter().enumerate().map(|(at, number)| {
                let (input, column) = (at / to, at % to);
                f32::from(*number) * scales[input / q8::BLOCK * to + column]
            });
            let types = [
                (Weights::F32(&weight), weight.clone()),
                (
                    Weights::F16(&f16s),
                    f16s.iter().map(|w| w.to_f32()).collect(),
                ),
                (
                    Weights::Bf16(&bf16s),
                    bf16s.iter().map(|w| w.to_f32()).collect(),
                ),
                (Weights::Q8(q8), widened.collect()),
            ];
            for (stored, wide) in types {
                for bias in [None, Some(&bias[..])] {
                    let exact = exact(size, &x, &wide, bias);
                    for isa in Isa::available() {
                        let y = forward(isa, None, [from, to], &x, stored, bias);
                        let far = beyond_rounding(&y, &exact);
                        assert!(
                            far.is_none(),
                            "{size:?}, {isa:?}: {}",
                            far.unwrap_or_default()
                        );
                    }
                }
            }
        }
    }

    /// Where the processor has the instructions: both factors are rounded to bf16, and nothing else is.
    #[test]
    fn with_a_dot_factors_are_rounded_to_bf16() {
        let Some(dot) = Dot::find() else {
            return;
        };
        let rounded = |x: &[f32]| -> Vec<f32> {
            let rounded = x.iter().map(|&x| bf16::from_f32(x).to_f32());
            rounded.collect()
        };
        for size in [[1, 1, 1], [13, 33, 70], [130, 65, 33]]
            .iter()
            .chain(&SIZES)
        {
            let [rows, from, to] = *size;
            let (x, weight) = (values(1, rows * from), values(2, from * to));
            let bias = values(3, to);
            let exact = exact(*size, &rounded(&x), &rounded(&weight), Some(&bias));
            for isa in Isa::available() {
                let weight = Weights::F32(&weight);
                let y = forward(isa, Some(dot), [from, to], &x, weight, Some(&bias));
                let far = beyond_rounding(&y, &exact);
                assert!(
                    far.is_none(),
                    "{size:?}, {isa:?}: {}",
                    far.unwrap_or_default()
                );
            }
        }
    }

    /// The numbers and scales of a `[from, to]` weight, block by block.
    fn blocks(weight: &[f32], to: usize) -> (Vec<i8>, Vec<f32>) {
        let from = weight.len() / to;
        let (mut numbers, mut scales) =
            (vec![0; weight.len()], vec![0.0; weight.len() / q8::BLOCK]);
        for column in 0..to {
            for block in 0..from / q8::BLOCK {
                let inputs = block * q8::BLOCK..(block + 1) * q8::BLOCK;
                let largest = inputs
                    .clone()
                    .map(|input| weight[input * to + column].abs())
                    .fold(0.0, f32::max);
                let (scale, inverse) = q8::scale(largest);
                scales[block * to + column] = scale.to_f32();
                for input in inputs {
                    let at = input * to + column;
                    numbers[at] = q8::rounded(weight[at], inverse);
                }
            }
        }
        (numbers, scales)
    }

    #[test]
    fn threads_do_not_change_the_result() {
        let (x, weight) = (values(1, 2100 * 32), values(2, 32 * 150));
        let weight: Vec<f16> = weight.into_iter().map(f16::from_f32).collect();
        assert_same_bits(|| {
            let weight = Weights::F16(&weight);
            vec![
                forward(Isa::best(), None, [32, 150], &x, weight, None),
                forward(Isa::best(), Dot::find(), [32, 150], &x, weight, None),
            ]
        });
    }
}
