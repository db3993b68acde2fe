//! `fewstep edit`: an image changed by a prompt.

use super::shared::generate::PromptedArgs;
use super::shared::image_files::SheetArgs;
use super::shared::inputs::InputArgs;
use crate::error::CliResult;
use crate::parsers::number;
use fewstep_generate::Init;
use std::path::PathBuf;

/// Change an image as a prompt says.
///
/// Noise is added to the image, as much as --strength says, and the model removes it again
/// (SDEdit). All of its steps are spent on that, spread evenly.
///
/// Example: fewstep edit --model runs/sd15 --image photo.png --prompt "an oil painting" --strength
/// 0.6
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    prompted: PromptedArgs,
    /// The image to change. Its size must be that of the result.
    #[arg(long, value_name = "FILE")]
    image: PathBuf,
    #[command(flatten)]
    inputs: InputArgs,
    /// How much may change: close to 0 almost nothing, 1 everything.
    #[arg(long, default_value = "0.6", value_parser = number)]
    strength: f64,
    #[command(flatten)]
    sheet: SheetArgs,
}

pub(crate) fn run(mut args: Args) -> CliResult {
    let generate = &args.prompted.generate;
    let steps = "whose steps are spread evenly from --strength to 0";
    generate.sampler.refuse_spacing(steps)?;
    args.sheet.check(&args.prompted.images)?;
    let generator = args.prompted.load(None)?;
    let subjects = args.prompted.prompts.subjects(&generator, None)?;
    let channels = generator.image_shape().channels;
    let image = args.inputs.image(&args.image, None, channels)?;
    let init = Init::Image {
        image: image.clone().into(),
        strength: args.strength,
    };
    let count = subjects.len();
    args.prompted.run(
        &generator,
        &subjects,
        count,
        init,
        &[&args.image],
        |images| args.sheet.write(&[image], images),
    )
}
