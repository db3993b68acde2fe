//! `fewstep info`: what a model or a run folder is.

mod fields;
mod model;
mod run;

use crate::arguments::positive;
use crate::failure::Outcome;
use crate::models;
use burn::tensor::Device;
use fewstep_distill::run::is_run;
use fields::Fields;
use serde::Serialize;
use std::path::Path;

/// Say what a model or a run folder is: network, sampler, guidance, progress, and where it comes from.
///
/// Example: fewstep info builtin:fashion-mnist --steps 4
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A model folder, a .safetensors file, a run folder, or builtin:NAME.
    #[arg(value_name = "MODEL")]
    model: String,
    /// Of several students under one name, the one for this number of steps.
    #[arg(long, value_parser = positive)]
    steps: Option<usize>,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args) -> Outcome {
    let device = Device::flex();
    let folder = Path::new(&args.model);
    if is_run(folder) && args.steps.is_none() {
        let facts = run::Facts::gather(folder, &device)?;
        return print(&facts, facts.fields(), args.json);
    }
    let model = models::load(&args.model, args.steps, &device)?;
    let facts = model::Facts::new(&model, args.model);
    print(&facts, facts.fields(), args.json)
}

fn print(facts: &impl Serialize, fields: Fields, json: bool) -> Outcome {
    match json {
        true => println!("{:#}", serde_json::json!(facts)),
        false => println!("{fields}"),
    }
    Ok(())
}
