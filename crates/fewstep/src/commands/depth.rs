//! `fewstep depth`: images from depth maps.

use super::shared::controlled::{ControlledArgs, Source};
use crate::error::CliResult;
use fewstep_diffusion::Task;

/// Generate images from depth maps of 8 or 16 bits.
///
/// Example: fewstep depth --model runs/depth --image depth.png --count 4 --out scenes.png
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    common: ControlledArgs,
}

pub(crate) fn run(args: Args) -> CliResult {
    let inputs = args.common.inputs;
    args.common.run(Task::Depth, |_, file, _| {
        Ok(Source::plain(inputs.depth(file)?))
    })
}
