//! Precision and recall of a set of generated images.

use crate::features::check_same_dim;
use crate::matrix::{dot_products, widen};
use crate::{Features, MetricsError, Result};

/// Rows of a block of distances: 1024² doubles are 8 MiB.
const BLOCK: usize = 1024;

/// Improved precision and recall of Kynkäänniemi et al. 2019 (the usual `k` is 3).
///
/// The manifold of a set is the union of the balls around its points that reach to the `k`-th
/// nearest other point. Precision is the share of `fake` inside the manifold of `real`, recall the
/// share of `real` inside the manifold of `fake`. Distances are computed in blocks, so memory grows
/// with the number of samples and not with its square.
///
/// # Errors
/// When the widths differ, `k` is 0, or a set has not more than `k` samples.
pub fn precision_recall(real: &Features, fake: &Features, k: usize) -> Result<(f64, f64)> {
    check_same_dim(real.dim, fake.dim)?;
    if k == 0 {
        return Err(MetricsError::Zero {
            what: "the number of neighbours k",
        });
    }
    let fewest = real.count().min(fake.count());
    if fewest <= k {
        return Err(MetricsError::TooFewSamples {
            metric: "precision and recall",
            needed: k + 1,
            got: fewest,
        });
    }
    let [real, fake] = centred(real, fake);
    Ok((covered(&fake, &real, k), covered(&real, &fake, k)))
}

/// Points and their squared lengths.
struct Points {
    dim: usize,
    values: Vec<f64>,
    lengths: Vec<f64>,
}

impl Points {
    fn count(&self) -> usize {
        self.lengths.len()
    }

    /// Squared distances from every point of `self` (a block at a time) to every point of `other`:
    /// calls `visit(index, distances)` once per point and block of `other`.
    fn squared_distances(&self, other: &Points, mut visit: impl FnMut(usize, usize, &[f64])) {
        let blocks = |points: &Points| (0..points.count()).step_by(BLOCK);
        for start in blocks(self) {
            for other_start in blocks(other) {
                let (x, x_lengths) = self.block(start);
                let (y, y_lengths) = other.block(other_start);
                let mut distances = dot_products(x, y, self.dim);
                let rows = distances.chunks_exact_mut(y_lengths.len());
                for (i, (row, xx)) in rows.zip(x_lengths).enumerate() {
                    for (d, yy) in std::iter::zip(row.iter_mut(), y_lengths) {
                        *d = (xx + yy - 2.0 * *d).max(0.0);
                    }
                    visit(start + i, other_start, row);
                }
            }
        }
    }

    fn block(&self, start: usize) -> (&[f64], &[f64]) {
        let end = (start + BLOCK).min(self.count());
        (
            &self.values[start * self.dim..end * self.dim],
            &self.lengths[start..end],
        )
    }

    /// Squared distance from every point to its `k`-th nearest other one.
    fn squared_radii(&self, k: usize) -> Vec<f64> {
        let mut nearest = vec![Vec::with_capacity(k + BLOCK); self.count()];
        self.squared_distances(self, |i, start, distances| {
            let others = distances.iter().enumerate();
            let candidates: &mut Vec<f64> = &mut nearest[i];
            candidates.extend(others.filter(|(j, _)| start + j != i).map(|(_, d)| *d));
            if candidates.len() > k {
                candidates.select_nth_unstable_by(k - 1, f64::total_cmp);
                candidates.truncate(k);
            }
        });
        let farthest = |candidates: Vec<f64>| candidates.into_iter().fold(0.0, f64::max);
        nearest.into_iter().map(farthest).collect()
    }
}

/// Share of `points` inside the manifold of `manifold`.
fn covered(points: &Points, manifold: &Points, k: usize) -> f64 {
    let radii = manifold.squared_radii(k);
    let mut inside = vec![false; points.count()];
    points.squared_distances(manifold, |i, start, distances| {
        inside[i] |= std::iter::zip(distances, &radii[start..]).any(|(d, r)| d <= r);
    });
    inside.iter().filter(|&&inside| inside).count() as f64 / points.count() as f64
}

/// Both sets around the mean of the first, which keeps `|x|² + |y|² − 2 x·y` accurate.
fn centred(real: &Features, fake: &Features) -> [Points; 2] {
    let dim = real.dim;
    let mut mean = vec![0.0; dim];
    for row in real.rows() {
        std::iter::zip(&mut mean, row).for_each(|(m, v)| *m += f64::from(*v));
    }
    mean.iter_mut().for_each(|m| *m /= real.count() as f64);
    [real, fake].map(|features| {
        let mut values = widen(&features.values);
        for row in values.chunks_exact_mut(dim) {
            std::iter::zip(row, &mean).for_each(|(v, m)| *v -= m);
        }
        let length = |row: &[f64]| row.iter().map(|v| v * v).sum();
        let lengths = values.chunks_exact(dim).map(length).collect();
        Points {
            dim,
            values,
            lengths,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(points: &[f32]) -> Features {
        Features::new(1, points.to_vec()).unwrap()
    }

    #[test]
    fn equal_sets_cover_each_other() {
        let a = line(&[0.0, 1.0, 3.0, 7.0, 8.0]);
        assert_eq!(precision_recall(&a, &a, 3).unwrap(), (1.0, 1.0));
    }

    #[test]
    fn sets_far_apart_do_not_meet() {
        let (a, b) = (line(&[0.0, 1.0, 2.0]), line(&[100.0, 101.0, 102.0]));
        assert_eq!(precision_recall(&a, &b, 1).unwrap(), (0.0, 0.0));
    }

    #[test]
    fn a_collapsed_generator_is_precise_without_recall() {
        // Real: two clusters. Fake: four points inside the first one, close together.
        let real = line(&[0.0, 1.0, 2.0, 3.0, 50.0, 51.0, 52.0, 53.0]);
        let fake = line(&[1.1, 1.15, 1.2, 1.25]);
        let (precision, recall) = precision_recall(&real, &fake, 1).unwrap();
        assert_eq!((precision, recall), (1.0, 0.0));
    }

    #[test]
    fn shares_are_counted() {
        // With k = 1 the balls of the real set are [-1, 2] and [9, 12]; fakes 0.5 and 11 are
        // inside.
        let real = line(&[0.0, 1.0, 10.0, 11.0]);
        let fake = line(&[0.5, 5.0, 11.0, 30.0]);
        let (precision, recall) = precision_recall(&real, &fake, 1).unwrap();
        assert_eq!(precision, 0.5);
        // Balls of the fakes: 0.5 ± 4.5, 5 ± 4.5, 11 ± 6, 30 ± 19: all of the real set is inside.
        assert_eq!(recall, 1.0);
    }

    #[test]
    fn several_blocks_give_what_one_would() {
        let grid = |offset: f32| {
            (0..BLOCK + 500)
                .map(|i| i as f32 + offset)
                .collect::<Vec<_>>()
        };
        let (real, fake) = (line(&grid(0.0)), line(&grid(0.25)));
        assert_eq!(precision_recall(&real, &fake, 3).unwrap(), (1.0, 1.0));
        let points = &centred(&real, &fake)[0];
        let radii = points.squared_radii(2);
        // Two neighbours at distance 1, except at the ends.
        assert!(
            radii[1..radii.len() - 1]
                .iter()
                .all(|r| (r - 1.0).abs() < 1e-6)
        );
        assert!((radii[0] - 4.0).abs() < 1e-6);
    }

    #[test]
    fn k_needs_more_samples_than_k() {
        let a = line(&[0.0, 1.0, 2.0]);
        let error = precision_recall(&a, &a, 3).unwrap_err();
        assert!(
            error.to_string().contains("at least 4 samples, got 3"),
            "{error}"
        );
        assert!(precision_recall(&a, &a, 0).is_err());
    }

    proptest! {
        #[test]
        fn shares_swap_with_the_sets_and_ignore_order(
            x in prop::collection::vec(-9i32..9, 8..24),
            y in prop::collection::vec(-9i32..9, 8..24),
        ) {
            // Distinct small offsets keep distances from tying.
            let spread = |v: &[i32], o: f32| {
                let values = v.iter().enumerate().map(|(i, v)| *v as f32 + o + i as f32 * 0.0137);
                values.collect::<Vec<_>>()
            };
            let (x, y) = (spread(&x, 0.0), spread(&y, 0.0053));
            let reversed: Vec<f32> = x.iter().rev().copied().collect();
            let (p, r) = precision_recall(&line(&x), &line(&y), 3).unwrap();
            prop_assert!((0.0..=1.0).contains(&p) && (0.0..=1.0).contains(&r));
            prop_assert_eq!(precision_recall(&line(&y), &line(&x), 3).unwrap(), (r, p));
            prop_assert_eq!(precision_recall(&line(&reversed), &line(&y), 3).unwrap(), (p, r));
        }
    }
}
