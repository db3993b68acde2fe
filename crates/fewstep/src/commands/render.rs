//! `fewstep render`: pictures from sketches, edges or segmentations.

use super::conditional::{ConditionalArgs, Source, read, values};
use crate::failure::Outcome;
use fewstep_data::condition::edges;
use fewstep_data::picture::Picture;
use fewstep_diffusion::Task;

/// Draw pictures from condition images: edges, sketches, segmentations, whatever the model has learnt.
///
/// Example: fewstep render --model runs/edges --image photo.png --edges --count 4 --out drawn.png
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    common: ConditionalArgs,
    /// The images are pictures: take their edges as the condition.
    #[arg(long)]
    edges: bool,
}

pub(crate) fn run(args: Args) -> Outcome {
    args.common.run(Task::Image, |_, file, [_, channels]| {
        let image = read(file, channels)?;
        Ok(Source::plain(match args.edges {
            true => Picture::from_f32(image.shape, &edges(&values(&image), image.shape)),
            false => image,
        }))
    })
}
