//! `fewstep upscale`: larger images.

use super::shared::controlled::{ControlledArgs, Source};
use crate::error::CliResult;
use fewstep_diffusion::Task;

/// Enlarge images with a model that was distilled for it.
///
/// The factor is the one that the model has learnt. Images of other sizes than in training work
/// too, if the U-Net can halve their sides often enough. An alpha channel is enlarged by bicubic
/// interpolation and kept, in PNG and WebP files.
///
/// Example: fewstep upscale --model runs/upscale --image small.png --steps 4 --out large.png
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    common: ControlledArgs,
}

pub(crate) fn run(args: Args) -> CliResult {
    let inputs = args.common.inputs;
    args.common.run(Task::Upscale, |_, file, [channels, _]| {
        let (image, alpha) = inputs.image_with_alpha(file, channels)?;
        Ok(Source {
            alpha,
            ..Source::plain(image)
        })
    })
}
