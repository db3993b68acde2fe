//! The backward pass: with P the probabilities and `dP = dO Vᵀ`,
//! `dS = P (dP - rowsum(dO O)) / sqrt(dim)`, `dQ = dS K`, `dK = dSᵀ Q`, `dV = Pᵀ dO`.

use super::super::product::{Left, product};
use super::super::scratch;
use super::super::simd::math::exp;
use super::super::simd::transpose::Rows;
use super::super::simd::{Isa, Kernel, Lanes};
use super::{KEYS, QUERIES, Shape, lay_columns, lay_rows};
use rayon::prelude::*;

/// What the forward pass was given and returned, of all heads or of one.
#[derive(Clone, Copy)]
pub(crate) struct Saved<'a> {
    pub(crate) q: &'a [f32],
    pub(crate) k: &'a [f32],
    pub(crate) v: &'a [f32],
    pub(crate) output: &'a [f32],
    pub(crate) sums: &'a [f32],
}

/// The gradients of q, k and v, given the output's.
pub(crate) fn backward(isa: Isa, shape: &Shape, saved: Saved, dy: &[f32]) -> [Vec<f32>; 3] {
    let Shape {
        heads,
        tokens,
        context,
        dim,
    } = *shape;
    let (queries, keys) = (tokens * dim, context * dim);
    let mut gradients = [queries, keys, keys].map(|len| vec![0.0; heads * len]);
    let [dq, dk, dv] = &mut gradients;
    let tasks = dq
        .par_chunks_exact_mut(queries)
        .zip(dk.par_chunks_exact_mut(keys));
    tasks
        .zip(dv.par_chunks_exact_mut(keys))
        .enumerate()
        .for_each(|(head, ((dq, dk), dv))| {
            let of_queries = head * queries..(head + 1) * queries;
            let of_keys = head * keys..(head + 1) * keys;
            let saved = Saved {
                q: &saved.q[of_queries.clone()],
                k: &saved.k[of_keys.clone()],
                v: &saved.v[of_keys],
                output: &saved.output[of_queries.clone()],
                sums: &saved.sums[head * tokens..][..tokens],
            };
            let dy = &dy[of_queries];
            scratch::with(Buffers::lengths(shape, isa.lanes()), |buffers| {
                isa.run(Head {
                    shape,
                    saved,
                    dy,
                    dq,
                    dk,
                    dv,
                    buffers: Buffers::new(buffers),
                });
            });
        });
    gradients
}

/// Working memory for one head.
struct Buffers<'a> {
    /// The gradients of keys and values, in rows filled up to whole registers.
    dk: &'a mut [f32],
    dv: &'a mut [f32],
    /// A block of queries and of the output's gradient, in such rows.
    q: &'a mut [f32],
    dy: &'a mut [f32],
    /// The same, and the queries' gradient, as columns.
    q_columns: &'a mut [f32],
    dy_columns: &'a mut [f32],
    dq_columns: &'a mut [f32],
    /// Probabilities, and the scores' gradient: a row for each key of a block.
    probabilities: &'a mut [f32],
    ds: &'a mut [f32],
}

impl<'a> Buffers<'a> {
    fn lengths(shape: &Shape, lanes: usize) -> [usize; 9] {
        let wide = shape.dim.next_multiple_of(lanes);
        let (keys, rows, columns) = (shape.context * wide, QUERIES * wide, shape.dim * QUERIES);
        let scores = KEYS * QUERIES;
        [
            keys, keys, rows, rows, columns, columns, columns, scores, scores,
        ]
    }

    fn new(parts: [&'a mut [f32]; 9]) -> Self {
        let [
            dk,
            dv,
            q,
            dy,
            q_columns,
            dy_columns,
            dq_columns,
            probabilities,
            ds,
        ] = parts;
        Self {
            dk,
            dv,
            q,
            dy,
            q_columns,
            dy_columns,
            dq_columns,
            probabilities,
            ds,
        }
    }
}

/// One head.
struct Head<'a> {
    shape: &'a Shape,
    saved: Saved<'a>,
    dy: &'a [f32],
    dq: &'a mut [f32],
    dk: &'a mut [f32],
    dv: &'a mut [f32],
    buffers: Buffers<'a>,
}

impl Kernel for Head<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(mut self) {
        let Shape {
            tokens,
            context,
            dim,
            ..
        } = *self.shape;
        let wide = dim.next_multiple_of(V::N);
        self.buffers.dk.fill(0.0);
        self.buffers.dv.fill(0.0);
        for first in (0..tokens).step_by(QUERIES) {
            let rows = QUERIES.min(tokens - first);
            let range = first * dim..(first + rows) * dim;
            let (q, dy) = (&self.saved.q[range.clone()], &self.dy[range.clone()]);
            let per_query = PerQuery {
                sums: std::array::from_fn(|i| {
                    if i < rows {
                        self.saved.sums[first + i]
                    } else {
                        0.0
                    }
                }),
                dots: dots(dy, &self.saved.output[range.clone()], dim),
            };
            let b = &mut self.buffers;
            copy_rows(q, dim, b.q, wide);
            copy_rows(dy, dim, b.dy, wide);
            for (values, columns) in [(q, &mut b.q_columns), (dy, &mut b.dy_columns)] {
                let from = Left { values, pitch: dim };
                lay_columns::<V>(from, [rows, dim], columns);
            }
            b.dq_columns.fill(0.0);
            for start in (0..context).step_by(KEYS) {
                self.block::<V>(rows, start, KEYS.min(context - start), &per_query);
            }
            let dq = &mut self.dq[range];
            let to = Rows {
                start: dq.as_mut_ptr(),
                pitch: dim,
            };
            assert_eq!(dq.len(), rows * dim);
            // SAFETY: the slice has as many rows.
            unsafe { lay_rows::<V>(self.buffers.dq_columns, [rows, dim], to) };
        }
        copy_rows(self.buffers.dk, wide, self.dk, dim);
        copy_rows(self.buffers.dv, wide, self.dv, dim);
    }
}

impl Head<'_> {
    /// Adds what `rows` queries and `keys` keys contribute to each other's gradients.
    #[inline(always)]
    fn block<V: Lanes>(&mut self, rows: usize, start: usize, keys: usize, per_query: &PerQuery) {
        let dim = self.shape.dim;
        let wide = dim.next_multiple_of(V::N);
        let b = &mut self.buffers;
        let range = start * dim..(start + keys) * dim;
        let k = Left {
            values: &self.saved.k[range.clone()],
            pitch: dim,
        };
        let v = Left {
            values: &self.saved.v[range],
            pitch: dim,
        };
        let sizes = [keys, dim, QUERIES];
        product::<V, false, false>(k, sizes, (b.q_columns, QUERIES), (b.probabilities, QUERIES));
        product::<V, false, false>(v, sizes, (b.dy_columns, QUERIES), (b.ds, QUERIES));
        let (p, ds) = (
            &mut b.probabilities[..keys * QUERIES],
            &mut b.ds[..keys * QUERIES],
        );
        scores_gradient::<V>(p, ds, self.shape.scale(), per_query);
        product::<V, true, true>(
            k,
            [dim, keys, QUERIES],
            (ds, QUERIES),
            (b.dq_columns, QUERIES),
        );
        let (p, ds) = (
            Left {
                values: p,
                pitch: QUERIES,
            },
            Left {
                values: ds,
                pitch: QUERIES,
            },
        );
        let (sizes, from) = ([keys, rows, wide], start * wide);
        product::<V, false, true>(ds, sizes, (b.q, wide), (&mut b.dk[from..], wide));
        product::<V, false, true>(p, sizes, (b.dy, wide), (&mut b.dv[from..], wide));
    }
}

/// What the softmax of each query of a block needs.
struct PerQuery {
    /// The logarithms of the sums of exponentials.
    sums: [f32; QUERIES],
    /// The products of the output with its gradient.
    dots: [f32; QUERIES],
}

/// For each row of `dim` floats, the product of `a`'s with `b`'s.
#[inline(always)]
fn dots(a: &[f32], b: &[f32], dim: usize) -> [f32; QUERIES] {
    let mut dots = [0.0; QUERIES];
    for (dot, (a, b)) in dots
        .iter_mut()
        .zip(a.chunks_exact(dim).zip(b.chunks_exact(dim)))
    {
        for (a, b) in a.iter().zip(b) {
            *dot += a * b;
        }
    }
    dots
}

/// Turns scores into probabilities, and the probabilities' gradient into the scores'.
#[inline(always)]
fn scores_gradient<V: Lanes>(p: &mut [f32], ds: &mut [f32], scale: f32, per_query: &PerQuery) {
    let scale = V::splat(scale);
    for at in (0..QUERIES).step_by(V::N) {
        // SAFETY: all rows have `QUERIES` floats, a multiple of the register's width.
        unsafe {
            let sum = V::splat(0.0).sub(V::load(per_query.sums.as_ptr().add(at)));
            let dot = V::load(per_query.dots.as_ptr().add(at));
            for (p, ds) in p
                .chunks_exact_mut(QUERIES)
                .zip(ds.chunks_exact_mut(QUERIES))
            {
                let (p, ds) = (p.as_mut_ptr().add(at), ds.as_mut_ptr().add(at));
                let probability = exp(V::load(p).mul_add(scale, sum));
                probability.store(p);
                V::load(ds).sub(dot).mul(probability).mul(scale).store(ds);
            }
        }
    }
}

/// Copies rows of one pitch into rows of another; what a longer one has more becomes zero.
#[inline(always)]
fn copy_rows(from: &[f32], from_pitch: usize, to: &mut [f32], to_pitch: usize) {
    let count = from_pitch.min(to_pitch);
    for (from, to) in from
        .chunks_exact(from_pitch)
        .zip(to.chunks_exact_mut(to_pitch))
    {
        to[..count].copy_from_slice(&from[..count]);
        to[count..].fill(0.0);
    }
}
