//! Mean and covariance of features.

use crate::features::check_same_dim;
use crate::matrix::{add_gram, widen};
use crate::{Features, MetricsError, Result};

/// Mean and covariance of a set of features, in double precision.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistics {
    /// Number of samples.
    pub count: usize,
    /// `dim` values.
    pub mean: Vec<f64>,
    /// `dim * dim` values, row by row; unbiased (`count - 1` in the denominator, as `numpy.cov`).
    pub covariance: Vec<f64>,
}

impl Statistics {
    /// Statistics of features that are all in memory.
    ///
    /// # Errors
    /// With fewer than two samples, or activations that are not finite.
    pub fn of(features: &Features) -> Result<Self> {
        let mut builder = StatisticsBuilder::new(features.dim);
        builder.push(features)?;
        builder.finish()
    }

    /// Width of the features.
    pub fn dim(&self) -> usize {
        self.mean.len()
    }
}

/// Computes [`Statistics`] batch by batch, so that features need not be kept.
///
/// Every batch is centred on its own mean before its products are summed, and batches are merged by
/// the pairwise update of Chan, Golub and LeVeque (1979): no cancellation however large the mean.
#[derive(Clone, Debug)]
pub struct StatisticsBuilder {
    count: usize,
    mean: Vec<f64>,
    /// Sum of the outer products of the deviations from the mean.
    scatter: Vec<f64>,
}

impl StatisticsBuilder {
    /// No samples yet.
    pub fn new(dim: usize) -> Self {
        Self {
            count: 0,
            mean: vec![0.0; dim],
            scatter: vec![0.0; dim * dim],
        }
    }

    /// Continues from the statistics of earlier samples.
    pub fn resume(earlier: Statistics) -> Self {
        let freedom = (earlier.count - 1) as f64;
        Self {
            count: earlier.count,
            mean: earlier.mean,
            scatter: earlier
                .covariance
                .into_iter()
                .map(|c| c * freedom)
                .collect(),
        }
    }

    /// Number of samples so far.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Adds a batch.
    ///
    /// # Errors
    /// When its width differs or an activation is not finite; nothing is added then.
    pub fn push(&mut self, batch: &Features) -> Result<()> {
        let dim = self.mean.len();
        check_same_dim(dim, batch.dim)?;
        if batch.values.iter().any(|v| !v.is_finite()) {
            return Err(MetricsError::NotFinite {
                metric: "feature statistics",
            });
        }
        if batch.count() == 0 {
            return Ok(());
        }
        let (ours, theirs) = (self.count as f64, batch.count() as f64);
        let total = ours + theirs;
        let mut rows = widen(&batch.values);
        let batch_mean = centre(&mut rows, dim);

        add_gram(&mut self.scatter, &rows, dim);
        // One more row for the distance between the two means: scatter += (n m / (n + m)) d dᵀ.
        let between = (ours * theirs / total).sqrt();
        let distance: Vec<f64> = std::iter::zip(&batch_mean, &self.mean)
            .map(|(b, a)| (b - a) * between)
            .collect();
        add_gram(&mut self.scatter, &distance, dim);
        for (mean, b) in std::iter::zip(&mut self.mean, batch_mean) {
            *mean += (b - *mean) * theirs / total;
        }
        self.count += batch.count();
        Ok(())
    }

    /// Mean and covariance of everything added.
    ///
    /// # Errors
    /// With fewer than two samples.
    pub fn finish(self) -> Result<Statistics> {
        if self.count < 2 {
            return Err(MetricsError::TooFewSamples {
                metric: "a covariance",
                needed: 2,
                got: self.count,
            });
        }
        let freedom = (self.count - 1) as f64;
        Ok(Statistics {
            count: self.count,
            mean: self.mean,
            covariance: self.scatter.into_iter().map(|s| s / freedom).collect(),
        })
    }
}

/// Subtracts the mean row from every row, and returns it.
fn centre(rows: &mut [f64], dim: usize) -> Vec<f64> {
    let count = (rows.len() / dim) as f64;
    let mut mean = vec![0.0; dim];
    for row in rows.chunks_exact(dim) {
        std::iter::zip(&mut mean, row).for_each(|(m, v)| *m += v);
    }
    mean.iter_mut().for_each(|m| *m /= count);
    for row in rows.chunks_exact_mut(dim) {
        std::iter::zip(row, &mean).for_each(|(v, m)| *v -= m);
    }
    mean
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn close(a: &[f64], b: &[f64], tolerance: f64) -> bool {
        std::iter::zip(a, b).all(|(a, b)| (a - b).abs() <= tolerance)
    }

    #[test]
    fn matches_the_definition_far_from_zero() {
        // Deviations of (±1, ±1, 0) around (1000, -2000): var = 1 and 1, cov = 1 with n - 1 = 2.
        let values = vec![1001.0, -1999.0, 999.0, -2001.0, 1000.0, -2000.0];
        let s = Statistics::of(&Features::new(2, values).unwrap()).unwrap();
        assert_eq!(s.mean, [1000.0, -2000.0]);
        assert!(close(&s.covariance, &[1.0; 4], 1e-12), "{s:?}");
    }

    #[test]
    fn one_sample_has_no_covariance() {
        let error = Statistics::of(&Features::new(2, vec![1.0, 2.0]).unwrap()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a covariance needs at least 2 samples, got 1"
        );
    }

    #[test]
    fn broken_activations_are_refused() {
        let features = Features::new(1, vec![1.0, f32::NAN]).unwrap();
        assert!(matches!(
            Statistics::of(&features),
            Err(MetricsError::NotFinite { .. })
        ));
    }

    proptest! {
        #[test]
        fn splitting_into_batches_changes_nothing(
            values in prop::collection::vec(-50f32..50.0, 6..90),
            batch in 1usize..7,
        ) {
            let dim = 3;
            let values = values[..values.len() / dim * dim].to_vec();
            let whole = Statistics::of(&Features::new(dim, values.clone()).unwrap()).unwrap();
            let mut builder = StatisticsBuilder::new(dim);
            for part in values.chunks(batch * dim) {
                builder.push(&Features::new(dim, part.to_vec()).unwrap()).unwrap();
            }
            let parts = builder.finish().unwrap();
            prop_assert_eq!(whole.count, parts.count);
            prop_assert!(close(&whole.mean, &parts.mean, 1e-9));
            prop_assert!(close(&whole.covariance, &parts.covariance, 1e-8));
        }
    }
}
