//! `fewstep instruct`: edits by instruction.

use super::shared::controlled::{ControlledArgs, Source};
use crate::error::{CliError, CliResult};
use crate::parsers::number;
use fewstep_diffusion::Task;

/// Edit images as an instruction says, with a model that learnt it from images before and after an
/// edit.
///
/// The instruction is --prompt, or --class for a model with classes.
///
/// The model is one with a
/// ControlNet for it, or InstructPix2Pix and its fine-tunes, whose U-Net sees the image next to the
/// noise; the latter are also guided towards the image, as --image-guidance-scale says.
///
/// Example: fewstep instruct --model runs/edit --image before.png --class sunset --out after.png
///
/// Example: fewstep instruct --model instruct-pix2pix --image before.png --prompt "make it snow"
/// --guidance-scale 7.5 --image-guidance-scale 1.5 --out after.png
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    common: ControlledArgs,
    /// Guidance towards the image, for models whose U-Net sees it: the larger, the closer the
    /// result stays to it; 1 is no guidance. A student has one scale folded in [default: the
    /// model's own, 1.5 as a rule].
    #[arg(long, value_name = "SCALE", value_parser = number, allow_negative_numbers = true)]
    image_guidance_scale: Option<f64>,
}

pub(crate) fn run(args: Args) -> CliResult {
    let (inputs, scale) = (args.common.inputs, args.image_guidance_scale);
    args.common.run(Task::Instruct, |_, file, [channels, control]| {
        let image = inputs.image(file, None, channels)?;
        match (control, scale) {
            (0, scale) => Ok(Source::seen(image, scale)),
            (_, None) => Ok(Source::plain(image)),
            (_, Some(_)) => Err(CliError::input(
                "--image-guidance-scale does not go with this model, which takes the image as a control image: it is for models whose U-Net sees the image next to the noise",
            )),
        }
    })
}
