//! `fewstep plan`: what a run would take.

use super::shared::recipe_kind::{Command, RecipeKind};
use super::shared::run::RunArgs;
use super::{distill, train};
use crate::error::CliResult;
use crate::memory::MemoryArgs;
use crate::parsers::size;
use std::path::PathBuf;

/// Predict the memory that a run takes: training all weights or a LoRA, with and without gradient
/// checkpointing.
///
/// Nothing is run, and no image is encoded. `train --dry-run` and `distill --dry-run` predict the
/// time too, from a few updates. A prediction above the memory of this machine is an error, after
/// the table; --force only prints. For a GPU, its memory and the machine's are predicted apart.
///
/// Example: fewstep plan recipes/fashion-mnist/distill.toml --set data.path=~/data/fashion-mnist
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The recipe, a TOML file for `train` or `distill`.
    recipe: PathBuf,
    /// Override a key of the recipe, as in --set optim.batch=64; may be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Predict for an NVIDIA GPU with this much memory, as in 24GiB, which need not be in this
    /// machine.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    gpu_memory: Option<u64>,
    #[command(flatten)]
    memory: MemoryArgs,
}

pub(crate) fn run(args: Args) -> CliResult {
    let run = RunArgs::to_plan(args.recipe, args.overrides, args.memory, args.gpu_memory);
    match RecipeKind::of(&run.recipe()?).map(RecipeKind::command) {
        Some(Command::Distill) => distill::run(distill::Args { run }),
        Some(Command::Train) | None => train::run(train::Args { run }),
    }
}
