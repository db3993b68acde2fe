//! `fewstep info`: what a model, a file of weights, a run folder or a recipe is.

mod builtin;
mod fields;
mod file;
mod model;
mod recipe;
mod run;

use super::shared::models;
use crate::error::{CliResult, IntoCliResult};
use crate::parsers::steps;
use fewstep_data::{amount, expand_home};
use fewstep_distill::run::is_run;
use fewstep_kernels::device::{compiled, found};
use fields::Fields;
use serde::Serialize;
use std::path::Path;

/// Show what a model, a run folder or a recipe is: network, sampler, guidance, progress, and where
/// it comes from.
///
/// Of files that other tools write (a single-file model, GGUF, a LoRA) the header is shown, and
/// what can be done with them. Without an argument, the models that are built into the program are
/// listed.
///
/// Example: fewstep info builtin:fashion-mnist --steps 4
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The model, run or recipe: a folder, a .safetensors or .gguf file, a run folder, a recipe's
    /// .toml file, a name on the hub, or builtin:NAME.
    #[arg(value_name = "MODEL")]
    model: Option<String>,
    /// List the devices that this build can compute on, with their memory, and stop.
    #[arg(long, conflicts_with_all = ["model", "steps", "json"])]
    devices: bool,
    /// Of a run's students, or of builtin ones with the same name, the one for this number of
    /// steps.
    #[arg(long, value_parser = steps)]
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
    let Some(reference) = args.model else {
        return builtin::print(args.json);
    };
    let place = expand_home(Path::new(&reference));
    let folder = place.as_path();
    if folder.is_file() {
        if folder.extension().is_some_and(|ending| ending == "toml") {
            let facts = recipe::Facts::gather(folder)?;
            return print(&facts, facts.fields(), args.json);
        }
        if let Some(facts) = file::Facts::gather(folder)? {
            return print(&facts, facts.fields(), args.json);
        }
    }
    let part = file::Facts::part_in(folder).map(|file| file::Facts::gather(&file));
    if let Some(facts) = part.transpose()?.flatten() {
        return print(&facts, facts.fields(), args.json);
    }
    let device = crate::compute::device(None)?;
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
        let memory = device.memory.map(|bytes| format!(", {}", amount(bytes)));
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
