//! `fewstep check`: whether a device computes the same as the CPU.

mod compare;
mod operations;
mod updates;

use crate::compute;
use crate::error::{CliError, CliResult, IntoCliResult};
use compare::Row;
use fewstep_kernels::device::can_compute_in;
use fewstep_nn::Precision;

/// Check that a device computes the same as the CPU.
///
/// The checks are every operation of the networks with its gradients, and one update of every
/// method, in each precision that the device supports.
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
