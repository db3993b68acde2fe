//! `fewstep info`: what a model or a run folder is.

mod fields;
mod model;
mod run;

use super::shared::models;
use crate::error::{CliResult, IntoCliResult};
use crate::parsers::positive;
use fewstep_distill::run::is_run;
use fewstep_kernels::device::{compiled, found};
use fields::Fields;
use serde::Serialize;
use std::path::Path;

/// Show what a model or a run folder is: network, sampler, guidance, progress, and where it comes
/// from.
///
/// Example: fewstep info builtin:fashion-mnist --steps 4
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The model or run: a folder, a .safetensors file, a run folder, a name on the hub, or
    /// builtin:NAME.
    #[arg(value_name = "MODEL", required_unless_present = "devices")]
    model: Option<String>,
    /// List the devices that this build can compute on, with their memory, and stop.
    #[arg(long, conflicts_with_all = ["model", "steps", "json"])]
    devices: bool,
    /// Of a run's students, or of builtin ones with the same name, the one for this number of
    /// steps.
    #[arg(long, value_parser = positive)]
    steps: Option<usize>,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args) -> CliResult {
    if args.devices {
        print_devices();
        return Ok(());
    }
    let device = crate::compute::device(None)?;
    let reference = args.model.unwrap_or_default();
    let folder = Path::new(&reference);
    if is_run(folder) && args.steps.is_none() {
        let facts = run::Facts::gather(folder, &device)?;
        return print(&facts, facts.fields(), args.json);
    }
    let source = models::find(&reference, args.steps)?;
    let components = source.components()?;
    let components = components.map(|components| components.facts(&device));
    let components = components.transpose().input_error()?;
    let facts = model::Facts::new(&source.model(&device)?, components, reference);
    print(&facts, facts.fields(), args.json)
}

fn print_devices() {
    for device in found() {
        let memory = device
            .memory
            .map(|bytes| format!(", {:.0} GB", bytes as f64 / 1e9));
        println!(
            "{:10} {}{}",
            device.name.to_string(),
            device.model,
            memory.unwrap_or_default()
        );
    }
    println!("backends of this build: {}", compiled().join(", "));
}

fn print(facts: &impl Serialize, fields: Fields, json: bool) -> CliResult {
    match json {
        true => println!("{:#}", serde_json::json!(facts)),
        false => println!("{fields}"),
    }
    Ok(())
}
