//! `fewstep plan`: what a run would take.

use super::shared::run::RunArgs;
use super::{distill, train};
use crate::error::CliResult;
use serde::Deserialize;
use std::path::PathBuf;

/// Predict the memory that a recipe takes in each way to run it: all weights trained or LoRA, with gradient
/// checkpointing or without.
///
/// Nothing is run, and images are not encoded. `--dry-run` of `train` and `distill` tells the time too, by a few updates.
///
/// Example: fewstep plan recipes/fashion-mnist/distill.toml --set data.path=~/data/fashion-mnist
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The recipe, a TOML file for `train` or `distill`.
    recipe: PathBuf,
    /// Set a key of the recipe: --set optim.batch=64. May be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
}

/// The key that recipes for `distill` have and others have not.
#[derive(Deserialize)]
struct Which {
    teacher: Option<toml::Value>,
}

pub(crate) fn run(args: Args) -> CliResult {
    let run = RunArgs::to_plan(args.recipe, args.overrides);
    match run.recipe::<Which>()?.teacher {
        Some(_) => distill::run(distill::Args { run }),
        None => train::run(train::Args { run }),
    }
}
