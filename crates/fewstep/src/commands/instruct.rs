//! `fewstep instruct`: edits by instruction.

use super::shared::controlled::{ControlledArgs, Source, read};
use crate::error::CliResult;
use fewstep_diffusion::Task;

/// Edit images as a model has learnt to, from images before an edit and after it.
///
/// For a model with classes --class is the instruction.
///
/// Example: fewstep instruct --model runs/edit --image before.png --class sunset --out after.png
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    common: ControlledArgs,
}

pub(crate) fn run(args: Args) -> CliResult {
    args.common.run(Task::Instruct, |_, file, [channels, _]| {
        Ok(Source::plain(read(file, channels)?))
    })
}
