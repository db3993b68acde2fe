//! `fewstep instruct`: edits by instruction.

use super::shared::controlled::{ControlledArgs, Source};
use crate::error::CliResult;
use fewstep_diffusion::Task;

/// Edit images as an instruction says, with a model that learnt it from images before and after an
/// edit.
///
/// The instruction is --prompt, or --class for a model with classes.
///
/// Example: fewstep instruct --model runs/edit --image before.png --class sunset --out after.png
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    common: ControlledArgs,
}

pub(crate) fn run(args: Args) -> CliResult {
    let inputs = args.common.inputs;
    args.common.run(Task::Instruct, |_, file, [channels, _]| {
        Ok(Source::plain(inputs.image(file, None, channels)?))
    })
}
