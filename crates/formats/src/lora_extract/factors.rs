//! The product of two thin matrices that is nearest to a change of a weight: the largest singular
//! values with their vectors.
//!
//! Found at random (0909.4061, algorithms 4.4 and 5.1), since a whole decomposition of all weights of
//! a U-Net takes a hundred times longer.

use burn::tensor::Device;
use faer::{Mat, MatRef};
use fewstep_diffusion::random::{self, Purpose};

/// Directions that are looked at besides those that are kept.
const MORE: usize = 8;
/// How often the directions are turned towards the largest singular values.
const TURNS: usize = 3;

/// A product B A.
pub(super) struct Factors {
    pub(super) rank: usize,
    /// B, `[outputs, rank]` row by row.
    pub(super) up: Vec<f32>,
    /// A, `[rank, inputs]`.
    pub(super) down: Vec<f32>,
    /// The singular values, largest first.
    pub(super) singular: Vec<f64>,
}

/// The factors of a matrix, row by row; at most `rank` of them. `None` where the decomposition does not
/// converge, which finite numbers do not cause.
pub(super) fn factors(change: &[f32], [rows, columns]: [usize; 2], rank: usize) -> Option<Factors> {
    let most = rows.min(columns);
    if change.iter().all(|value| *value == 0.0) {
        return Some(Factors {
            rank: 1,
            up: vec![0.0; rows],
            down: vec![0.0; columns],
            singular: vec![0.0],
        });
    }
    let change = MatRef::from_row_major_slice(change, rows, columns);
    let (basis, inside) = match rank + MORE < most {
        true => {
            let basis = range(change, rank + MORE);
            let inside = basis.transpose() * change;
            (Some(basis), inside)
        }
        false => (None, change.to_owned()),
    };
    let found = inside.thin_svd().ok()?;
    let rank = rank.min(most);
    let left = match basis {
        Some(basis) => basis * found.U(),
        None => found.U().to_owned(),
    };
    let (values, right) = (found.S().column_vector(), found.V());
    // Both factors are of the same size.
    let root = |at: usize| values[at].max(0.0).sqrt();
    let up = (0..rows).flat_map(|row| (0..rank).map(move |at| (row, at)));
    let down = (0..rank).flat_map(|at| (0..columns).map(move |column| (at, column)));
    Some(Factors {
        rank,
        up: up.map(|(row, at)| left[(row, at)] * root(at)).collect(),
        down: down
            .map(|(at, column)| right[(column, at)] * root(at))
            .collect(),
        singular: (0..rank).map(|at| f64::from(values[at])).collect(),
    })
}

/// Columns that span nearly what the `count` largest singular values do.
fn range(change: MatRef<'_, f32>, count: usize) -> Mat<f32> {
    let columns = change.ncols();
    let shape = [1, columns, count];
    let noise = random::normal(0, &[0], Purpose::Initialisation, shape, &Device::flex());
    let noise: Vec<f32> = noise.into_data().iter().collect();
    let noise = MatRef::from_row_major_slice(&noise, columns, count);
    let orthogonal = |matrix: Mat<f32>| matrix.qr().compute_thin_Q();
    let mut basis = orthogonal(change * noise);
    for _ in 0..TURNS {
        let back = orthogonal(change.transpose() * &basis);
        basis = orthogonal(change * back);
    }
    basis
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of rank 3, whose singular values are 10, 4 and 1 times those of the same vectors.
    fn matrix(rows: usize, columns: usize) -> (Vec<f32>, [f64; 3]) {
        let vector = |number: usize, length: usize| -> Vec<f64> {
            // Cosines of different frequencies are orthogonal.
            let at = |i: usize| {
                let phase = (2 * i + 1) as f64 * (number + 1) as f64;
                (phase * std::f64::consts::PI / (2 * length) as f64).cos()
            };
            (0..length).map(at).collect()
        };
        let norm = ((rows * columns) as f64).sqrt() / 2.0;
        let mut values = vec![0f32; rows * columns];
        for (number, scale) in [10.0, 4.0, 1.0].into_iter().enumerate() {
            let (left, right) = (vector(number, rows), vector(number, columns));
            for (at, value) in values.iter_mut().enumerate() {
                *value += (scale * left[at / columns] * right[at % columns]) as f32;
            }
        }
        (values, [10.0 * norm, 4.0 * norm, norm])
    }

    fn error(values: &[f32], found: &Factors, columns: usize) -> f64 {
        let rank = found.rank;
        let error = values.iter().enumerate().map(|(at, value)| {
            let (row, column) = (at / columns, at % columns);
            let product =
                (0..rank).map(|r| found.up[row * rank + r] * found.down[r * columns + column]);
            f64::from(value - product.sum::<f32>()).powi(2)
        });
        error.sum::<f64>().sqrt()
    }

    #[test]
    fn a_matrix_of_small_rank_is_found_and_a_smaller_one_is_the_nearest() {
        // By the whole decomposition, and at random.
        for [rows, columns] in [[6, 9], [60, 40], [33, 120]] {
            let (values, singular) = matrix(rows, columns);
            for rank in 1..=4 {
                let found = factors(&values, [rows, columns], rank).expect("converges");
                assert_eq!(found.rank, rank);
                for (ours, theirs) in found.singular.iter().zip(singular) {
                    assert!((ours / theirs - 1.0).abs() < 1e-4, "{ours} for {theirs}");
                }
                // The next singular values are what is lost (Eckart and Young).
                let lost: f64 = singular.iter().skip(rank).map(|value| value * value).sum();
                let error = error(&values, &found, columns);
                let expected = lost.sqrt();
                let near = (error - expected).abs() < 1e-4 * singular[0];
                assert!(
                    near,
                    "rank {rank} of {rows}x{columns}: {error} for {expected}"
                );
            }
        }
    }

    #[test]
    fn a_rank_above_that_of_the_matrix_is_cut() {
        let found = factors(&[1.0, 2.0, 3.0, 4.0, 5.0, 7.0], [3, 2], 9).expect("converges");
        assert_eq!((found.rank, found.up.len(), found.down.len()), (2, 6, 4));
        assert!(error(&[1.0, 2.0, 3.0, 4.0, 5.0, 7.0], &found, 2) < 1e-5);
    }
}
