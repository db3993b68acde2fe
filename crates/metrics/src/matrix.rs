//! Double-precision products of feature rows.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, get_global_parallelism};

/// A row-major `[rows, cols]` matrix over a slice.
pub(crate) fn row_major(values: &[f64], cols: usize) -> MatRef<'_, f64> {
    MatRef::from_row_major_slice(values, values.len() / cols, cols)
}

/// Feature rows in double precision.
pub(crate) fn widen(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

/// `x yᵀ` of row-major `x` (`[m, dim]`) and `y` (`[n, dim]`), row-major `[m, n]`.
pub(crate) fn dot_products(x: &[f64], y: &[f64], dim: usize) -> Vec<f64> {
    let (x, y) = (row_major(x, dim), row_major(y, dim));
    let (m, n) = (x.nrows(), y.nrows());
    let mut out = vec![0.0; m * n];
    let dst = MatMut::from_row_major_slice_mut(&mut out, m, n);
    matmul(
        dst,
        Accum::Replace,
        x,
        y.transpose(),
        1.0,
        get_global_parallelism(),
    );
    out
}

/// `target += xᵀ x` for row-major `x` (`[n, dim]`) and `target` (`[dim, dim]`).
pub(crate) fn add_gram(target: &mut [f64], x: &[f64], dim: usize) {
    let x = row_major(x, dim);
    let dst = MatMut::from_row_major_slice_mut(target, dim, dim);
    matmul(
        dst,
        Accum::Add,
        x.transpose(),
        x,
        1.0,
        get_global_parallelism(),
    );
}
