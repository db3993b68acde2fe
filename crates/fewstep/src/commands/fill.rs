//! `fewstep fill`: a part of a picture filled as a text says.

use super::drawing::Job;
use crate::failure::{Blame, Outcome};
use fewstep::Canvas;
use fewstep_data::picture;
use std::path::PathBuf;

/// Fill a part of a picture as a text says, with a model that sees the rest of it.
///
/// Example: fewstep fill --model sd15-inpainting --image photo.png --mask mask.png --prompt "a red door"
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    job: Job,
    /// The picture, of the size of the pictures asked for.
    #[arg(long, value_name = "FILE")]
    image: PathBuf,
    /// White where the picture is to be filled, black where it stays; as big as the picture.
    #[arg(long, value_name = "FILE")]
    mask: PathBuf,
}

pub(crate) fn run(args: Args) -> Outcome {
    let Args { job, image, mask } = args;
    job.run(|_, channels| {
        Ok(Canvas::Fill {
            picture: picture::read(&image, None, channels).blame_input()?,
            mask: picture::read(&mask, None, 1).blame_input()?,
        })
    })
}
