//! The forward pass: each block of queries goes over the blocks of keys with a running softmax.

use super::super::product::{Left, product};
use super::super::scratch;
use super::super::simd::math::exp;
use super::super::simd::{Isa, Kernel, Lanes};
use super::{Heads, KEYS, QUERIES, Shape, lay_columns, lay_rows};
use rayon::prelude::*;

/// The output, and for each query the logarithm of the sum of the exponentials of its scaled
/// scores.
pub(crate) fn forward(isa: Isa, shape: &Shape, [q, k, v]: [Heads; 3]) -> (Vec<f32>, Vec<f32>) {
    let Shape {
        heads,
        tokens,
        context,
        dim,
    } = *shape;
    let mut output = vec![0.0; heads * tokens * dim];
    let mut sums = vec![0.0; heads * tokens];
    let of_heads = output.par_chunks_exact_mut(tokens * dim);
    let of_heads = of_heads.zip(sums.par_chunks_exact_mut(tokens)).enumerate();
    of_heads.for_each(|(head, (output, sums))| {
        let [k, v] = [k, v].map(|x| x.rows(head, 0..context, dim));
        let blocks = output.par_chunks_mut(QUERIES * dim);
        blocks
            .zip(sums.par_chunks_mut(QUERIES))
            .enumerate()
            .for_each(|(block, (output, sums))| {
                let first = block * QUERIES;
                let q = q.rows(head, first..first + sums.len(), dim);
                let columns = dim * QUERIES;
                scratch::with(
                    [columns, KEYS * QUERIES, columns],
                    |[queries, scores, mixed]| {
                        isa.run(Block {
                            shape,
                            q,
                            k,
                            v,
                            output,
                            sums,
                            queries,
                            scores,
                            mixed,
                        });
                    },
                );
            });
    });
    (output, sums)
}

/// Up to [`QUERIES`] queries of one head.
struct Block<'a> {
    shape: &'a Shape,
    q: Left<'a>,
    k: Left<'a>,
    v: Left<'a>,
    output: &'a mut [f32],
    sums: &'a mut [f32],
    /// The queries as columns.
    queries: &'a mut [f32],
    /// A row for each key of a block.
    scores: &'a mut [f32],
    /// The output as columns.
    mixed: &'a mut [f32],
}

impl Kernel for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self) {
        let Shape { context, dim, .. } = *self.shape;
        lay_columns::<V>(self.q, [self.sums.len(), dim], self.queries);
        self.mixed.fill(0.0);
        let (mut maxima, mut sums) = ([f32::MIN; QUERIES], [0.0; QUERIES]);
        for start in (0..context).step_by(KEYS) {
            let keys = KEYS.min(context - start);
            let [k, v] = [self.k, self.v].map(|x| x.skip_rows(start));
            let sizes = [keys, dim, QUERIES];
            product::<V, false, false>(k, sizes, (self.queries, QUERIES), (self.scores, QUERIES));
            let scores = &mut self.scores[..keys * QUERIES];
            take_in::<V>(
                scores,
                self.shape.scale(),
                &mut maxima,
                &mut sums,
                self.mixed,
            );
            let sizes = [dim, keys, QUERIES];
            product::<V, true, true>(v, sizes, (self.scores, QUERIES), (self.mixed, QUERIES));
        }
        for row in self.mixed.chunks_exact_mut(QUERIES) {
            for (value, sum) in row.iter_mut().zip(&sums) {
                *value /= sum;
            }
        }
        lay_rows::<V>(self.mixed, dim, self.output);
        for (to, (max, sum)) in self.sums.iter_mut().zip(maxima.iter().zip(&sums)) {
            *to = max + sum.ln();
        }
    }
}

/// Takes a block of keys into the queries' softmax: replaces the scores by the exponentials of the
/// scaled ones relative to the new maxima, and brings what was summed up before to the same scale.
#[inline(always)]
fn take_in<V: Lanes>(
    scores: &mut [f32],
    scale: f32,
    maxima: &mut [f32; QUERIES],
    sums: &mut [f32; QUERIES],
    mixed: &mut [f32],
) {
    for at in (0..QUERIES).step_by(V::N) {
        // SAFETY: all rows have `QUERIES` floats, a multiple of the register's width.
        unsafe {
            let old = V::load(maxima.as_ptr().add(at));
            let scale = V::splat(scale);
            let mut max = V::splat(f32::MIN);
            for row in scores.chunks_exact(QUERIES) {
                max = max.max(V::load(row.as_ptr().add(at)));
            }
            let max = old.max(max.mul(scale));
            let shrink = exp(old.sub(max));
            let mut sum = V::splat(0.0);
            for row in scores.chunks_exact_mut(QUERIES) {
                let row = row.as_mut_ptr().add(at);
                let e = exp(V::load(row).mul_add(scale, V::splat(0.0).sub(max)));
                sum = sum.add(e);
                e.store(row);
            }
            for row in mixed.chunks_exact_mut(QUERIES) {
                let row = row.as_mut_ptr().add(at);
                V::load(row).mul(shrink).store(row);
            }
            V::load(sums.as_ptr().add(at))
                .mul_add(shrink, sum)
                .store(sums.as_mut_ptr().add(at));
            max.store(maxima.as_mut_ptr().add(at));
        }
    }
}
