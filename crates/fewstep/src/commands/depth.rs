//! `fewstep depth`: pictures from depth maps.

use super::conditional::{ConditionalArgs, Source, read};
use crate::failure::Outcome;
use fewstep_diffusion::Task;

/// Draw pictures from depth maps.
///
/// Example: fewstep depth --model runs/depth --image depth.png --count 4 --out scenes.png
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    common: ConditionalArgs,
}

pub(crate) fn run(args: Args) -> Outcome {
    args.common
        .run(Task::Depth, |_, file, _| Ok(Source::plain(read(file, 1)?)))
}
