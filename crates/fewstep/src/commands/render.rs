//! `fewstep render`: images from sketches, edges or segmentations.

use super::shared::controlled::{ControlledArgs, Source};
use crate::error::CliResult;
use fewstep_data::condition::edges;
use fewstep_data::image::{Image, to_f32};
use fewstep_diffusion::Task;

/// Generate images from control images: edges, sketches, segmentations, or what else the model has
/// learnt.
///
/// Example: fewstep render --model runs/edges --image photo.png --edges --count 4 --out
/// rendered.png
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    common: ControlledArgs,
    /// Use the edges of each image as the control image.
    #[arg(long)]
    edges: bool,
}

pub(crate) fn run(args: Args) -> CliResult {
    let inputs = args.common.inputs;
    args.common.run(Task::Image, |_, file, [_, channels]| {
        let image = inputs.image(file, None, channels)?;
        let values = image.pixels.iter().map(|&value| to_f32(value));
        Ok(Source::plain(match args.edges {
            true => Image::from_f32(
                image.shape,
                &edges(&values.collect::<Vec<f32>>(), image.shape),
            ),
            false => image,
        }))
    })
}
