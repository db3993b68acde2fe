//! The Fréchet distance between two Gaussians.

use crate::features::check_same_dim;
use crate::matrix::row_major;
use crate::{MetricsError, Result, Statistics};
use faer::{Mat, Side};

/// Squared Fréchet (2-Wasserstein) distance between the Gaussians with these statistics:
/// `|m₁ − m₂|² + tr(S₁ + S₂ − 2 (S₁ S₂)^½)`, Heusel et al. 2017.
///
/// `tr (S₁ S₂)^½` is the sum of the square roots of the eigenvalues of the symmetric matrix
/// `Λ^½ Vᵀ S₂ V Λ^½`, where `S₁ = V Λ Vᵀ`. So it stays real and exact for covariances without full
/// rank, as fewer samples than dimensions give, where the general matrix root does not.
///
/// # Errors
/// When the widths differ or the statistics are not finite.
pub fn frechet_distance(a: &Statistics, b: &Statistics) -> Result<f64> {
    check_same_dim(a.dim(), b.dim())?;
    let dim = a.dim();
    let trace = |s: &Statistics| s.covariance.iter().step_by(dim + 1).sum::<f64>();
    let means: f64 = std::iter::zip(&a.mean, &b.mean)
        .map(|(x, y)| (x - y).powi(2))
        .sum();
    let distance = means + trace(a) + trace(b) - 2.0 * trace_of_root(a, b)?;
    // Rounding can give a value slightly below zero for equal statistics.
    Ok(distance.max(0.0))
}

/// `tr (S₁ S₂)^½`.
fn trace_of_root(a: &Statistics, b: &Statistics) -> Result<f64> {
    let broken = || MetricsError::NotFinite {
        metric: "the Fréchet distance",
    };
    let dim = a.dim();
    let finite = |s: &Statistics| s.mean.iter().chain(&s.covariance).all(|v| v.is_finite());
    if !finite(a) || !finite(b) {
        return Err(broken());
    }
    let eigen = row_major(&a.covariance, dim)
        .self_adjoint_eigen(Side::Lower)
        .map_err(|_| broken())?;
    let roots = eigen.S().column_vector();
    // V Λ^½: every eigenvector times the root of its eigenvalue.
    let scaled = Mat::from_fn(dim, dim, |row, col| {
        eigen.U()[(row, col)] * roots[col].max(0.0).sqrt()
    });
    let product = scaled.transpose() * (row_major(&b.covariance, dim) * &scaled);
    let eigenvalues = product
        .self_adjoint_eigenvalues(Side::Lower)
        .map_err(|_| broken())?;
    Ok(eigenvalues.iter().map(|e| e.max(0.0).sqrt()).sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Features;
    use proptest::prelude::*;

    fn gaussian(mean: &[f64], covariance: &[f64]) -> Statistics {
        Statistics {
            count: 100,
            mean: mean.to_vec(),
            covariance: covariance.to_vec(),
        }
    }

    #[test]
    fn one_dimension_is_the_textbook_formula() {
        // (m1 - m2)² + (s1 - s2)²
        let d = frechet_distance(&gaussian(&[1.0], &[9.0]), &gaussian(&[-2.0], &[4.0])).unwrap();
        assert!((d - 10.0).abs() < 1e-12, "{d}");
    }

    #[test]
    fn commuting_covariances_compare_root_by_root() {
        // The same rotation of diag(4, 1) and diag(9, 16): (2 - 3)² + (1 - 4)² = 10.
        let (c, s) = (0.8, 0.6);
        let rotated = |x: f64, y: f64| {
            let off = c * s * (x - y);
            [c * c * x + s * s * y, off, off, s * s * x + c * c * y]
        };
        let a = gaussian(&[0.0, 0.0], &rotated(4.0, 1.0));
        let b = gaussian(&[0.0, 0.0], &rotated(9.0, 16.0));
        assert!((frechet_distance(&a, &b).unwrap() - 10.0).abs() < 1e-12);
    }

    #[test]
    fn two_by_two_has_a_closed_form() {
        // tr (AB)^½ = sqrt(tr AB + 2 sqrt(det A det B)) for 2x2.
        let (a, b) = ([2.0, 0.5, 0.5, 1.0], [1.0, -0.3, -0.3, 3.0]);
        let trace_ab = a[0] * b[0] + 2.0 * a[1] * b[1] + a[3] * b[3];
        let det = |m: [f64; 4]| m[0] * m[3] - m[1] * m[2];
        let expected = 3.0 + 4.0 - 2.0 * (trace_ab + 2.0 * (det(a) * det(b)).sqrt()).sqrt();
        let d = frechet_distance(&gaussian(&[0.0; 2], &a), &gaussian(&[0.0; 2], &b)).unwrap();
        assert!((d - expected).abs() < 1e-12, "{d} {expected}");
    }

    #[test]
    fn covariances_without_full_rank_are_exact() {
        // Two lines at an angle of 60 degrees: tr (AB)^½ = |<u, v>| = 1/2.
        let (x, y) = (0.5, 0.75f64.sqrt());
        let a = gaussian(&[0.0; 2], &[1.0, 0.0, 0.0, 0.0]);
        let b = gaussian(&[0.0; 2], &[x * x, x * y, x * y, y * y]);
        assert!((frechet_distance(&a, &b).unwrap() - 1.0).abs() < 1e-7);
    }

    #[test]
    fn other_widths_are_refused() {
        let (a, b) = (
            gaussian(&[0.0], &[1.0]),
            gaussian(&[0.0; 2], &[1.0, 0.0, 0.0, 1.0]),
        );
        assert!(frechet_distance(&a, &b).is_err());
    }

    fn samples() -> impl Strategy<Value = Statistics> {
        prop::collection::vec(-3f32..3.0, 8..60).prop_map(|mut values| {
            values.truncate(values.len() / 4 * 4);
            Statistics::of(&Features::new(4, values).unwrap()).unwrap()
        })
    }

    proptest! {
        #[test]
        fn symmetric_and_not_negative(a in samples(), b in samples()) {
            let (ab, ba) = (frechet_distance(&a, &b).unwrap(), frechet_distance(&b, &a).unwrap());
            prop_assert!(ab >= 0.0);
            prop_assert!((ab - ba).abs() < 1e-6 * (1.0 + ab), "{} {}", ab, ba);
        }

        #[test]
        fn zero_for_equal_statistics(a in samples()) {
            prop_assert!(frechet_distance(&a, &a).unwrap() < 1e-6);
        }
    }
}
