//! Attention against its definition in double precision.

use super::{Heads, Saved, Shape, backward, forward};
use crate::cpu::dot::Dot;
use crate::cpu::simd::Isa;
use crate::cpu::testing::{assert_same_bits, beyond, values};
use half::bf16;
use proptest::prelude::*;

struct Inputs {
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    dy: Vec<f32>,
}

impl Inputs {
    /// Scores spread more with `spread`.
    fn new(shape: &Shape, spread: f32) -> Self {
        let (queries, keys) = (shape.tokens * shape.dim, shape.context * shape.dim);
        Self {
            q: values(1, shape.heads * queries)
                .iter()
                .map(|q| q * spread)
                .collect(),
            k: values(2, shape.heads * keys),
            v: values(3, shape.heads * keys),
            dy: values(4, shape.heads * queries),
        }
    }
}

/// The output, then the gradients of q, k and v.
fn exact(shape: &Shape, inputs: &Inputs) -> [Vec<f64>; 4] {
    let Inputs { q, k, v, dy } = inputs;
    let mut results = [q.len(), q.len(), k.len(), v.len()].map(|len| vec![0.0; len]);
    let [y, dq, dk, dv] = &mut results;
    let scale = 1.0 / (shape.dim as f64).sqrt();
    for query in 0..shape.heads * shape.tokens {
        let first = query / shape.tokens * shape.context;
        let keys = first..first + shape.context;
        let row = |i: usize| i * shape.dim..(i + 1) * shape.dim;
        let dot = |a: &[f32], b: &[f32]| -> f64 {
            a.iter()
                .zip(b)
                .map(|(&a, &b)| f64::from(a) * f64::from(b))
                .sum()
        };
        let e: Vec<f64> = keys
            .clone()
            .map(|key| (dot(&q[row(query)], &k[row(key)]) * scale).exp())
            .collect();
        let total: f64 = e.iter().sum();
        let p: Vec<f64> = e.iter().map(|e| e / total).collect();
        let dp: Vec<f64> = keys
            .clone()
            .map(|key| dot(&dy[row(query)], &v[row(key)]))
            .collect();
        let mean: f64 = p.iter().zip(&dp).map(|(p, dp)| p * dp).sum();
        for ((key, p), dp) in keys.zip(p).zip(dp) {
            let ds = p * (dp - mean) * scale;
            for (of_query, of_key) in row(query).zip(row(key)) {
                y[of_query] += p * f64::from(v[of_key]);
                dq[of_query] += ds * f64::from(k[of_key]);
                dk[of_key] += ds * f64::from(q[of_query]);
                dv[of_key] += p * f64::from(dy[of_query]);
            }
        }
    }
    results
}

/// Heads one after the other, of so many rows.
fn in_order(values: &[f32], rows: usize, dim: usize) -> Heads<'_> {
    Heads {
        values,
        per_image: 1,
        steps: [rows * dim, 0, dim],
    }
}

fn ours(isa: Isa, shape: &Shape, inputs: &Inputs) -> Vec<Vec<f32>> {
    let Inputs { q, k, v, dy } = inputs;
    let inputs = [(q, shape.tokens), (k, shape.context), (v, shape.context)];
    let heads = inputs.map(|(x, rows)| in_order(x, rows, shape.dim));
    let (output, sums) = forward(isa, None, shape, heads);
    let saved = Saved {
        q,
        k,
        v,
        output: &output,
        sums: &sums,
    };
    let gradients = backward(isa, shape, saved, dy);
    std::iter::once(output).chain(gradients).collect()
}

fn check(shape: &Shape, spread: f32) -> Result<(), TestCaseError> {
    let inputs = Inputs::new(shape, spread);
    let exact = exact(shape, &inputs);
    for isa in Isa::available() {
        for (index, (ours, exact)) in ours(isa, shape, &inputs).iter().zip(&exact).enumerate() {
            let far = beyond(0.05 * f64::from(spread), ours, exact);
            prop_assert!(
                far.is_none(),
                "{isa:?}: result {index} {}",
                far.unwrap_or_default()
            );
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn equals_its_definition(
        (heads, tokens, context, dim) in (1..=3_usize, 1..=70_usize, 1..=300_usize, 1..=40_usize),
        spread in 1.0..60.0_f32,
    ) {
        check(&Shape { heads, tokens, context, dim }, spread)?;
    }
}

#[test]
fn equals_its_definition_at_the_usual_sizes() {
    for (tokens, context, dim) in [(64, 64, 16), (256, 256, 32), (96, 77, 64)] {
        check(
            &Shape {
                heads: 2,
                tokens,
                context,
                dim,
            },
            8.0,
        )
        .expect("all results close");
    }
}

/// Where the processor has the instructions: queries, keys, values and the softmax's weights are
/// rounded to bf16, which moves a mean of values by up to 2⁻⁸ of the largest.
#[test]
fn with_a_dot_factors_are_rounded_to_bf16() {
    let Some(dot) = Dot::find() else {
        return;
    };
    for (tokens, context, dim) in [(1, 1, 1), (33, 129, 7), (70, 300, 40), (96, 77, 64)] {
        let shape = Shape {
            heads: 3,
            tokens,
            context,
            dim,
        };
        let mut inputs = Inputs::new(&shape, 8.0);
        for x in [&mut inputs.q, &mut inputs.k, &mut inputs.v] {
            x.iter_mut().for_each(|x| *x = bf16::from_f32(*x).to_f32());
        }
        let [exact, ..] = exact(&shape, &inputs);
        let Inputs { q, k, v, .. } = &inputs;
        let rows = [(q, tokens), (k, context), (v, context)];
        for isa in Isa::available() {
            let heads = rows.map(|(x, rows)| in_order(x, rows, dim));
            let (ours, _) = forward(isa, Some(dot), &shape, heads);
            let far = |ours: f32, exact: f64| (f64::from(ours) - exact).abs() > 0.5 / 256.0;
            let wrong = ours
                .iter()
                .zip(&exact)
                .filter(|(ours, exact)| far(**ours, **exact));
            assert_eq!(wrong.count(), 0, "{isa:?}, {shape:?}");
        }
        assert_same_bits(|| {
            let heads = rows.map(|(x, rows)| in_order(x, rows, dim));
            vec![forward(Isa::best(), Some(dot), &shape, heads).0]
        });
    }
}

#[test]
fn gives_the_same_bits_on_any_number_of_threads() {
    let shape = Shape {
        heads: 5,
        tokens: 70,
        context: 150,
        dim: 24,
    };
    let inputs = Inputs::new(&shape, 8.0);
    assert_same_bits(|| ours(Isa::best(), &shape, &inputs));
}

/// Heads that share rows, as a linear layer writes them, give what heads in order give, and share the
/// rows of the output.
#[test]
fn heads_need_not_follow_each_other() {
    let (batch, per_image) = (2, 3);
    let shape = Shape {
        heads: batch * per_image,
        tokens: 45,
        context: 70,
        dim: 20,
    };
    let Inputs { q, k, v, .. } = Inputs::new(&shape, 2.0);
    let inputs = [(q, shape.tokens), (k, shape.context), (v, shape.context)];
    // From [image, head, row, number] to [image, row, head, number].
    let shared = inputs.each_ref().map(|(x, rows)| {
        let mut shared = vec![0.0; x.len()];
        for (row, numbers) in x.chunks_exact(shape.dim).enumerate() {
            let (head, row) = (row / rows, row % rows);
            let (image, head) = (head / per_image, head % per_image);
            let at = ((image * rows + row) * per_image + head) * shape.dim;
            shared[at..at + shape.dim].copy_from_slice(numbers);
        }
        (shared, *rows)
    });
    for isa in Isa::available() {
        let in_order = inputs
            .each_ref()
            .map(|(x, rows)| in_order(x, *rows, shape.dim));
        let as_they_lie = shared.each_ref().map(|(x, rows)| Heads {
            values: x,
            per_image,
            steps: [rows * per_image, 1, per_image].map(|rows| rows * shape.dim),
        });
        let (expected, expected_sums) = forward(isa, None, &shape, in_order);
        let (found, sums) = forward(isa, None, &shape, as_they_lie);
        assert_eq!(sums, expected_sums);
        for (row, numbers) in expected.chunks_exact(shape.dim).enumerate() {
            let (head, row) = (row / shape.tokens, row % shape.tokens);
            let (image, head) = (head / per_image, head % per_image);
            let at = ((image * shape.tokens + row) * per_image + head) * shape.dim;
            assert_eq!(&found[at..at + shape.dim], numbers);
        }
    }
}
