//! `fewstep check`: whether a device computes the same as the CPU.

mod operations;
mod updates;

use crate::compute;
use crate::error::{CliError, CliResult, IntoCliResult};
use burn::tensor::{Device, FloatDType, Tensor, TensorData};
use fewstep_kernels::device::can_compute_in;
use fewstep_nn::Precision;
use serde::Serialize;

/// Check that a device computes the same as the CPU: every operation of the networks with its
/// gradients, and one update of every method, in each precision that the device supports.
///
/// Example: fewstep check --device cuda
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run only the checks with this text in their name.
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
}

/// How far a device is from the CPU.
#[derive(Serialize)]
struct Row {
    name: String,
    precision: String,
    /// Largest difference, relative to the largest value.
    error: f64,
    allowed: f64,
    /// From the first call to the result, with compilation.
    seconds: f64,
}

impl Row {
    fn passes(&self) -> bool {
        // NaN passes nothing.
        self.error <= self.allowed
    }
}

pub(crate) fn run(args: Args) -> CliResult {
    let device = compute::device(None)?;
    let mut rows = vec![];
    let mut add = |row: Row| {
        if !args.json {
            let verdict = if row.passes() { "ok" } else { "WRONG" };
            let Row {
                name,
                precision,
                error,
                allowed,
                seconds,
            } = &row;
            println!(
                "{name:44} {precision:4} {error:9.1e} of {allowed:7.0e} {seconds:7.2} s  {verdict}"
            );
        }
        rows.push(row);
    };
    for precision in [Precision::F32, Precision::Bf16] {
        if can_compute_in(&device, precision.dtype()) {
            operations::check(&device, precision, &args.only, &mut add);
            updates::check(&device, precision, &args.only, &mut add);
        }
    }
    let wrong = rows.iter().filter(|row| !row.passes()).count();
    if args.json {
        println!("{}", serde_json::to_string_pretty(&rows).input_error()?);
    }
    match wrong {
        0 => Ok(()),
        _ => Err(CliError::Work(anyhow::anyhow!(
            "{wrong} of {} results differ from the CPU's by more than rounding",
            rows.len()
        ))),
    }
}

/// Results of the CPU or of a device, as rows of numbers.
type Values = Vec<Vec<f32>>;

/// The largest difference, relative to the largest value of its row.
fn error(exact: &Values, other: &Values) -> f64 {
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

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// A tensor of these values in this type.
fn tensor<const D: usize>(
    values: &[f32],
    shape: [usize; D],
    dtype: FloatDType,
    device: &Device,
) -> Tensor<D> {
    Tensor::<D>::from_data(TensorData::new(values.to_vec(), shape), device).cast(dtype)
}
