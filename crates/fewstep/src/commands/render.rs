//! `fewstep render`: images from sketches, edges or segmentations.

use super::conditional::{ConditionalArgs, Source, read, values};
use crate::failure::CliResult;
use fewstep_data::condition::edges;
use fewstep_data::image::Image;
use fewstep_diffusion::Task;

/// Draw images from control images: edges, sketches, segmentations, whatever the model has learnt.
///
/// Example: fewstep render --model runs/edges --image photo.png --edges --count 4 --out drawn.png
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    common: ConditionalArgs,
    /// The images are images: take their edges as the condition.
    #[arg(long)]
    edges: bool,
}

pub(crate) fn run(args: Args) -> CliResult {
    args.common.run(Task::Image, |_, file, [_, channels]| {
        let image = read(file, channels)?;
        Ok(Source::plain(match args.edges {
            true => Image::from_f32(image.shape, &edges(&values(&image), image.shape)),
            false => image,
        }))
    })
}
