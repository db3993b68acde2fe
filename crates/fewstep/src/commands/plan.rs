//! `fewstep plan`: what a run would take.

use super::shared::plan_ranks::RanksArgs;
use super::shared::recipe_kind::{Command, RecipeKind};
use super::shared::run::RunArgs;
use super::{adapt, distill, train};
use crate::error::CliResult;
use crate::memory::MemoryArgs;
use crate::parsers::{seconds, size, speed, threads};
use std::path::PathBuf;

/// Predict the memory that a run takes: training all weights or a LoRA, with and without gradient
/// checkpointing.
///
/// Nothing is run, and no image is encoded. `--dry-run` of `train`, `distill` and `adapt` predicts
/// the time too, from a few updates. A prediction above the memory of this machine is an error, after
/// the table; --force only prints. For a GPU, its memory and the machine's are predicted apart.
///
/// With --ranks, also what each of several processes takes, and how much faster they are together:
/// for this, a few updates are run.
///
/// Example: fewstep plan recipes/fashion-mnist/distill.toml --set data.path=~/data/fashion-mnist
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The recipe, a TOML file for `train`, `distill` or `adapt`.
    recipe: PathBuf,
    /// Override a key of the recipe, as in --set optim.batch=64; may be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Predict for an NVIDIA GPU with this much memory, as in 24GiB, which need not be in this
    /// machine.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    gpu_memory: Option<u64>,
    /// Predict also what each of several processes takes that train together: 1, 2, 4 and so on up
    /// to this many.
    #[arg(long, value_name = "N", value_parser = threads)]
    ranks: Option<usize>,
    /// Bytes a second between two of the processes, as in 25GB/s or 100Gbit/s.
    #[arg(long, value_name = "SPEED", value_parser = speed, default_value = "10Gbit/s", requires = "ranks")]
    bandwidth: f64,
    /// Seconds that an update takes one process, where it was measured elsewhere; without it, a few
    /// updates are timed here.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, requires = "ranks")]
    update_seconds: Option<f64>,
    #[command(flatten)]
    memory: MemoryArgs,
}

pub(crate) fn run(args: Args) -> CliResult {
    let ranks = args.ranks.map(|ranks| RanksArgs {
        ranks,
        bandwidth: args.bandwidth,
        update_seconds: args.update_seconds,
    });
    let (recipe, overrides) = (args.recipe, args.overrides);
    let run = RunArgs::to_plan(recipe, overrides, args.memory, args.gpu_memory, ranks);
    match RecipeKind::of(&run.recipe()?).map(RecipeKind::command) {
        Some(Command::Distill) => distill::run(distill::Args { run }),
        Some(Command::Adapt) => adapt::run(adapt::Args { run }),
        Some(Command::Train) | None => train::run(train::Args { run }),
    }
}
