//! The forward pass: each block of queries goes over the blocks of keys with a running softmax.

use super::super::dot::{self, Dot};
use super::super::output::{Shared, written_by};
use super::super::product::{Left, product};
use super::super::scratch;
use super::super::simd::math::exp;
use super::super::simd::transpose::Rows;
use super::super::simd::{Isa, Kernel, Lanes};
use super::{Heads, KEYS, QUERIES, Shape, lay_columns, lay_rows};
use rayon::prelude::*;

/// The output, `[image, token, head, dim]` as the layer behind it reads it, and for each query the
/// logarithm of the sum of the exponentials of its scaled scores, head by head. With a `dot` the
/// factors of both products are rounded to bf16.
pub(crate) fn forward(
    isa: Isa,
    dot: Option<Dot>,
    shape: &Shape,
    [q, k, v]: [Heads; 3],
) -> (Vec<f32>, Vec<f32>) {
    let Shape {
        heads,
        tokens,
        context,
        dim,
    } = *shape;
    let (per_image, pitch) = (q.per_image, q.per_image * dim);
    let mut sums = vec![0.0; heads * tokens];
    // SAFETY: every block writes the rows of its queries, at its head's place, and all have a block.
    let output = unsafe {
        written_by(heads * tokens * dim, |output| {
            let output = &Shared(output.as_mut_ptr().cast());
            let of_heads = sums.par_chunks_exact_mut(tokens).enumerate();
            of_heads.for_each(|(head, sums)| {
                let [k, v] = [k, v].map(|x| x.rows(head, 0..context, dim));
                let rounded = dot.map(|dot| Rounded::new(dot, shape, [k, v]));
                let pairs = rounded.as_ref().map_or([0; 2], |rounded| {
                    [rounded.of_key * QUERIES, KEYS / 2 * QUERIES]
                });
                let blocks = sums.par_chunks_mut(QUERIES).enumerate();
                blocks.for_each(|(block, sums)| {
                    let first = block * QUERIES;
                    let q = q.rows(head, first..first + sums.len(), dim);
                    let row = head / per_image * tokens + first;
                    let columns = dim * QUERIES;
                    scratch::with(
                        [columns, KEYS * QUERIES, columns, pairs[0], pairs[1]],
                        |[queries, scores, mixed, query_pairs, score_pairs]| {
                            isa.run(Block {
                                shape,
                                q,
                                k,
                                v,
                                rounded: rounded.as_ref(),
                                output: Rows {
                                    start: output.0.add(row * pitch + head % per_image * dim),
                                    pitch,
                                },
                                sums,
                                queries,
                                scores,
                                mixed,
                                query_pairs,
                                score_pairs,
                            });
                        },
                    );
                });
            });
        })
    };
    (output, sums)
}

/// The keys and values of a head, rounded to bf16.
struct Rounded {
    dot: Dot,
    /// Pairs along a key's floats: `[context, dim / 2]`.
    keys: Vec<f32>,
    /// Pairs of neighbouring values: `[context / 2, dim]`.
    values: Vec<f32>,
    /// Pairs of a key.
    of_key: usize,
}

impl Rounded {
    fn new<'a>(dot: Dot, shape: &Shape, [k, v]: [Left<'a>; 2]) -> Self {
        let Shape { context, dim, .. } = *shape;
        let of_key = dim.div_ceil(2);
        let (mut keys, mut values) = (
            vec![0.0; context * of_key],
            vec![0.0; context.div_ceil(2) * dim],
        );
        let row = |x: Left<'a>, number: usize| &x.values[number * x.pitch..][..dim];
        for (number, to) in keys.chunks_exact_mut(of_key).enumerate() {
            dot.pairs_of_row(row(k, number), to);
        }
        for (number, to) in values.chunks_exact_mut(dim).enumerate() {
            let second = (2 * number + 1 < context).then(|| row(v, 2 * number + 1));
            dot.pairs_of_rows(row(v, 2 * number), second, to);
        }
        Self {
            dot,
            keys,
            values,
            of_key,
        }
    }

    /// Lays rows of one number for each query out in pairs.
    fn pair(&self, rows: &[f32], to: &mut [f32]) {
        let pairs = rows.chunks(2 * QUERIES).zip(to.chunks_exact_mut(QUERIES));
        for (rows, to) in pairs {
            let (first, second) = rows.split_at(QUERIES);
            let second = (!second.is_empty()).then_some(second);
            self.dot.pairs_of_rows(first, second, to);
        }
    }
}

/// Up to [`QUERIES`] queries of one head.
struct Block<'a> {
    shape: &'a Shape,
    q: Left<'a>,
    k: Left<'a>,
    v: Left<'a>,
    /// In place of `k` and `v`.
    rounded: Option<&'a Rounded>,
    /// Where the rows of its output are writable.
    output: Rows<*mut f32>,
    sums: &'a mut [f32],
    /// The queries as columns.
    queries: &'a mut [f32],
    /// A row for each key of a block.
    scores: &'a mut [f32],
    /// The output as columns.
    mixed: &'a mut [f32],
    /// `queries` in pairs, where factors are rounded.
    query_pairs: &'a mut [f32],
    /// `scores` in pairs, where factors are rounded.
    score_pairs: &'a mut [f32],
}

impl Kernel for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self) {
        let Shape { context, dim, .. } = *self.shape;
        lay_columns::<V>(self.q, [self.sums.len(), dim], self.queries);
        if let Some(rounded) = self.rounded {
            rounded.pair(&self.queries[..dim * QUERIES], self.query_pairs);
        }
        self.mixed.fill(0.0);
        let (mut maxima, mut sums) = ([f32::MIN; QUERIES], [0.0; QUERIES]);
        for start in (0..context).step_by(KEYS) {
            let keys = KEYS.min(context - start);
            let [k, v] = [self.k, self.v].map(|x| x.skip_rows(start));
            let to = (&mut *self.scores, QUERIES);
            match self.rounded {
                None => {
                    let sizes = [keys, dim, QUERIES];
                    product::<V, false, false>(k, sizes, (self.queries, QUERIES), to);
                }
                Some(rounded) => {
                    let left = dot::Left {
                        pairs: &rounded.keys[start * rounded.of_key..],
                        steps: [rounded.of_key, 1],
                    };
                    let (sizes, right) = ([keys, rounded.of_key, QUERIES], &*self.query_pairs);
                    rounded
                        .dot
                        .product::<false>(left, sizes, (right, QUERIES), to);
                }
            }
            let scores = &mut self.scores[..keys * QUERIES];
            take_in::<V>(
                scores,
                self.shape.scale(),
                &mut maxima,
                &mut sums,
                self.mixed,
            );
            let to = (&mut *self.mixed, QUERIES);
            match self.rounded {
                None => {
                    let sizes = [dim, keys, QUERIES];
                    product::<V, true, true>(v, sizes, (self.scores, QUERIES), to);
                }
                Some(rounded) => {
                    rounded.pair(&self.scores[..keys * QUERIES], self.score_pairs);
                    let left = dot::Left {
                        pairs: &rounded.values[start / 2 * dim..],
                        steps: [1, dim],
                    };
                    let (sizes, right) = ([dim, keys.div_ceil(2), QUERIES], &*self.score_pairs);
                    rounded
                        .dot
                        .product::<true>(left, sizes, (right, QUERIES), to);
                }
            }
        }
        for row in self.mixed.chunks_exact_mut(QUERIES) {
            for (value, sum) in row.iter_mut().zip(&sums) {
                *value /= sum;
            }
        }
        // SAFETY: the caller's promise.
        unsafe { lay_rows::<V>(self.mixed, [self.sums.len(), dim], self.output) };
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
