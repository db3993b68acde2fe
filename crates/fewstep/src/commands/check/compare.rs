//! Comparing the results of a device with those of the CPU.

use burn::tensor::{Device, FloatDType, Tensor, TensorData};
use serde::Serialize;

/// How far a device is from the CPU.
#[derive(Serialize)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) precision: String,
    /// Largest difference, relative to the largest value.
    pub(super) error: f64,
    pub(super) allowed: f64,
    /// From the first call to the result, with compilation.
    pub(super) seconds: f64,
}

impl Row {
    pub(super) fn passes(&self) -> bool {
        // NaN passes nothing.
        self.error <= self.allowed
    }
}

/// Results of the CPU or of a device, as rows of numbers.
pub(super) type Values = Vec<Vec<f32>>;

/// The largest difference, relative to the largest value of its row.
pub(super) fn error(exact: &Values, other: &Values) -> f64 {
    let of_row = |(exact, other): (&Vec<f32>, &Vec<f32>)| {
        if exact.len() != other.len() {
            return f64::NAN;
        }
        let largest = exact.iter().fold(0f32, |most, v| most.max(v.abs()));
        let differences = exact
            .iter()
            .zip(other)
            .map(|(a, b)| f64::from((a - b).abs()));
        // `max` would lose a NaN.
        let most = differences.fold(
            0.0,
            |most: f64, d| if d > most || d.is_nan() { d } else { most },
        );
        most / f64::from(largest).max(1e-12)
    };
    let rows = exact.iter().zip(other).map(of_row);
    rows.fold(
        0.0,
        |most: f64, e| if e > most || e.is_nan() { e } else { most },
    )
}

pub(super) fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// A tensor of these values in this type.
pub(super) fn tensor<const D: usize>(
    values: &[f32],
    shape: [usize; D],
    dtype: FloatDType,
    device: &Device,
) -> Tensor<D> {
    Tensor::<D>::from_data(TensorData::new(values.to_vec(), shape), device).cast(dtype)
}
