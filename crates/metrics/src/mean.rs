//! Means with their spread.

use crate::{MetricsError, Result};

/// Mean and (population) standard deviation of a metric over subsets or splits.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct MeanStd {
    /// Mean over the parts.
    pub mean: f64,
    /// Standard deviation over the parts, with `n` in the denominator.
    pub std: f64,
}

impl MeanStd {
    pub(crate) fn of(values: &[f64]) -> Self {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
        Self {
            mean,
            std: variance.sqrt(),
        }
    }
}

/// The mean of a metric over images, or a ratio of two such means, with the half-width of its 95 % confidence interval.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct MeanInterval {
    /// Mean.
    pub mean: f64,
    /// 1.96 standard errors: the true mean is within `mean` ± `half_width` for 95 of 100 such
    /// samples.
    pub half_width: f64,
    /// Number of images.
    pub count: usize,
}

impl MeanInterval {
    /// The mean of these values.
    ///
    /// # Errors
    /// When there are fewer than two: one value says nothing about how much they vary.
    pub fn of(values: &[f64]) -> Result<Self> {
        let n = values.len();
        if n < 2 {
            return Err(MetricsError::TooFewSamples {
                metric: "a confidence interval",
                needed: 2,
                got: n,
            });
        }
        let mean = values.iter().sum::<f64>() / n as f64;
        let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
        let variance = squares / (n - 1) as f64;
        Ok(Self {
            mean,
            half_width: 1.96 * (variance / n as f64).sqrt(),
            count: n,
        })
    }

    /// The sum of one quantity over that of another, both of the same images: Σa / Σb. The interval
    /// is that of a ratio estimator, from the spread of a − (Σa / Σb) b.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    ///
    /// # Panics
    /// When the two are not of as many images.
    pub fn of_ratio(numerators: &[f64], denominators: &[f64]) -> Result<Self> {
        assert_eq!(numerators.len(), denominators.len(), "pairs");
        let sum = |values: &[f64]| values.iter().sum::<f64>();
        let ratio = sum(numerators) / sum(denominators);
        let mean = sum(denominators) / denominators.len() as f64;
        let pairs = numerators.iter().zip(denominators);
        let residuals: Vec<f64> = pairs.map(|(a, b)| (a - ratio * b) / mean).collect();
        Ok(Self {
            mean: ratio,
            half_width: Self::of(&residuals)?.half_width,
            ..Self::of(numerators)?
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 95 of 100 intervals around means of known numbers hold the true mean.
    #[test]
    fn intervals_hold_the_mean() {
        let two = MeanInterval::of(&[1.0, 3.0]).unwrap();
        assert_eq!((two.mean, two.count), (2.0, 2));
        // The variance is 2, its mean's 1.
        assert!((two.half_width - 1.96).abs() < 1e-12, "{two:?}");
        assert!(MeanInterval::of(&[1.0]).is_err());
        let mut state = 1u64;
        let mut uniform = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) as f64 / f64::from(1u32 << 31)
        };
        let holds = (0..2000).filter(|_| {
            let values: Vec<f64> = (0..50).map(|_| uniform()).collect();
            let interval = MeanInterval::of(&values).unwrap();
            (interval.mean - 0.5).abs() <= interval.half_width
        });
        let share = holds.count() as f64 / 2000.0;
        assert!((0.93..0.97).contains(&share), "{share}");
    }

    /// A ratio that is the same in every image is certain; else about 95 of 100 intervals hold the
    /// true one.
    #[test]
    fn intervals_hold_the_ratio() {
        let exact = MeanInterval::of_ratio(&[1.0, 3.0, 4.0], &[2.0, 6.0, 8.0]).unwrap();
        assert_eq!((exact.mean, exact.half_width, exact.count), (0.5, 0.0, 3));
        assert!(MeanInterval::of_ratio(&[1.0], &[1.0]).is_err());
        let mut state = 1u64;
        let mut uniform = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) as f64 / f64::from(1u32 << 31)
        };
        let holds = (0..2000).filter(|_| {
            let b: Vec<f64> = (0..100).map(|_| 0.5 + uniform()).collect();
            let a: Vec<f64> = b.iter().map(|b| 2.0 * b + uniform() - 0.5).collect();
            let interval = MeanInterval::of_ratio(&a, &b).unwrap();
            (interval.mean - 2.0).abs() <= interval.half_width
        });
        let share = holds.count() as f64 / 2000.0;
        assert!((0.93..0.97).contains(&share), "{share}");
    }
}
