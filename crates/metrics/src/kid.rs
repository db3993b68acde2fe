//! The kernel distance.

use crate::features::check_same_dim;
use crate::matrix::{dot_products, widen};
use crate::{Features, MeanStd, MetricsError, Result};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Kernel distance (KID) of Bińkowski et al. 2018: the unbiased estimate of the squared maximum
/// mean discrepancy under the kernel `(x·y / dim + 1)³`, over `subsets` random subsets of
/// `subset_size` samples of each set, drawn without replacement from `seed`.
///
/// Unbiased, so it may be slightly negative for equal distributions. The usual setting is 100
/// subsets of 1000.
///
/// # Errors
/// When the widths differ, a set is smaller than a subset, or there is nothing to average.
pub fn kid(
    a: &Features,
    b: &Features,
    subsets: usize,
    subset_size: usize,
    seed: u64,
) -> Result<MeanStd> {
    check_same_dim(a.dim, b.dim)?;
    if subsets == 0 {
        return Err(MetricsError::Zero {
            what: "the number of KID subsets",
        });
    }
    let needed = subset_size.max(2);
    if let Some(got) = [subset_size, a.count(), b.count()]
        .into_iter()
        .find(|&n| n < needed)
    {
        return Err(MetricsError::TooFewSamples {
            metric: "KID with this subset size",
            needed,
            got,
        });
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let estimates: Vec<f64> = (0..subsets)
        .map(|_| {
            let x = subset(a, subset_size, &mut rng);
            let y = subset(b, subset_size, &mut rng);
            squared_mmd(&x, &y, a.dim)
        })
        .collect();
    Ok(MeanStd::of(&estimates))
}

/// Unbiased estimate of the squared maximum mean discrepancy of two equally large sets.
fn squared_mmd(x: &[f64], y: &[f64], dim: usize) -> f64 {
    let n = (x.len() / dim) as f64;
    let [xx, yy, xy] = [(x, x), (y, y), (x, y)].map(|(x, y)| {
        let mut kernel = dot_products(x, y, dim);
        kernel
            .iter_mut()
            .for_each(|k| *k = (*k / dim as f64 + 1.0).powi(3));
        kernel
    });
    let sum = |kernel: &[f64]| kernel.iter().sum::<f64>();
    let off_diagonal =
        |kernel: &[f64]| sum(kernel) - kernel.iter().step_by(n as usize + 1).sum::<f64>();
    (off_diagonal(&xx) + off_diagonal(&yy)) / (n * (n - 1.0)) - 2.0 * sum(&xy) / (n * n)
}

/// Rows drawn without replacement: the head of a Fisher-Yates shuffle.
fn subset(features: &Features, size: usize, rng: &mut ChaCha8Rng) -> Vec<f64> {
    let mut order: Vec<usize> = (0..features.count()).collect();
    let mut rows = Vec::with_capacity(size * features.dim);
    for i in 0..size {
        // The high half of a 64-bit product: uniform to within 2⁻⁶⁴ of the range.
        let range = (order.len() - i) as u128;
        let offset = (u128::from(rng.next_u64()) * range) >> 64;
        order.swap(i, i + offset as usize);
        let start = order[i] * features.dim;
        rows.extend(widen(&features.values[start..start + features.dim]));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand_distr::{Distribution, Normal};

    fn normal(count: usize, dim: usize, mean: f32, seed: u64) -> Features {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let normal = Normal::new(mean, 1.0).unwrap();
        let values = (0..count * dim).map(|_| normal.sample(&mut rng)).collect();
        Features::new(dim, values).unwrap()
    }

    /// The definition, term by term.
    fn brute_force(a: &Features, b: &Features) -> f64 {
        let kernel = |x: &[f32], y: &[f32]| {
            let dot: f64 = std::iter::zip(x, y)
                .map(|(x, y)| f64::from(*x) * f64::from(*y))
                .sum();
            (dot / x.len() as f64 + 1.0).powi(3)
        };
        let (x, y): (Vec<_>, Vec<_>) = (a.rows().collect(), b.rows().collect());
        let n = x.len();
        let (mut within, mut between) = (0.0, 0.0);
        for i in 0..n {
            for j in 0..n {
                if i != j {
                    within += kernel(x[i], x[j]) + kernel(y[i], y[j]);
                }
                between += kernel(x[i], y[j]);
            }
        }
        within / (n * (n - 1)) as f64 - 2.0 * between / (n * n) as f64
    }

    #[test]
    fn equals_the_double_loop() {
        let (a, b) = (normal(20, 5, 0.0, 1), normal(20, 5, 0.4, 2));
        let got = kid(&a, &b, 3, 20, 9).unwrap();
        let expected = brute_force(&a, &b);
        assert!((got.mean - expected).abs() < 1e-12, "{got:?} {expected}");
        assert!(
            got.std < 1e-12,
            "all samples, so every subset is the whole: {got:?}"
        );
    }

    #[test]
    fn near_zero_for_equal_distributions_and_not_for_others() {
        let same = kid(&normal(800, 8, 0.0, 1), &normal(800, 8, 0.0, 2), 20, 200, 0).unwrap();
        let other = kid(&normal(800, 8, 0.0, 1), &normal(800, 8, 0.5, 2), 20, 200, 0).unwrap();
        assert!(same.mean.abs() < 0.02, "{same:?}");
        assert!(other.mean > 10.0 * same.mean.abs(), "{other:?} {same:?}");
    }

    #[test]
    fn the_seed_decides() {
        let (a, b) = (normal(50, 3, 0.0, 1), normal(50, 3, 0.0, 2));
        assert_eq!(
            kid(&a, &b, 4, 10, 7).unwrap(),
            kid(&a, &b, 4, 10, 7).unwrap()
        );
        assert_ne!(
            kid(&a, &b, 4, 10, 7).unwrap(),
            kid(&a, &b, 4, 10, 8).unwrap()
        );
    }

    #[test]
    fn subsets_hold_each_sample_once() {
        let features = Features::new(1, (0..30).map(|i| i as f32).collect()).unwrap();
        let mut drawn = subset(&features, 30, &mut ChaCha8Rng::seed_from_u64(3));
        drawn.sort_by(f64::total_cmp);
        assert_eq!(drawn, (0..30).map(f64::from).collect::<Vec<_>>());
    }

    #[test]
    fn too_large_subsets_are_refused() {
        let error = kid(&normal(5, 2, 0.0, 1), &normal(9, 2, 0.0, 2), 1, 6, 0).unwrap_err();
        assert!(
            error.to_string().contains("at least 6 samples, got 5"),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn symmetric_over_whole_sets(
            x in prop::collection::vec(-2f32..2.0, 12),
            y in prop::collection::vec(-2f32..2.0, 12),
        ) {
            let (a, b) = (Features::new(3, x).unwrap(), Features::new(3, y).unwrap());
            let (ab, ba) = (kid(&a, &b, 1, 4, 0).unwrap(), kid(&b, &a, 1, 4, 0).unwrap());
            prop_assert!((ab.mean - ba.mean).abs() < 1e-9);
        }
    }
}
