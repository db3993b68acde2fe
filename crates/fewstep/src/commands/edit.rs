//! `fewstep edit`: an image changed by a text.

use super::drawing::Job;
use crate::arguments::finite;
use crate::failure::{Blame, CliResult};
use fewstep::Canvas;
use fewstep_data::image;
use std::path::PathBuf;

/// Change an image as a text says.
///
/// The image is noised by --strength, and the model takes the noise away again (SDEdit), all its steps in what is
/// left of the way.
///
/// Example: fewstep edit --model sd15 --image photo.png --prompt "an oil painting" --strength 0.6
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    job: Job,
    /// The image to change, of the size of the images asked for.
    #[arg(long, value_name = "FILE")]
    image: PathBuf,
    /// How much may change: near 0 nearly nothing, 1 everything.
    #[arg(long, default_value = "0.6", value_parser = finite)]
    strength: f64,
}

pub(crate) fn run(args: Args) -> CliResult {
    let Args {
        job,
        image,
        strength,
    } = args;
    job.run(|_, channels| {
        let image = image::read(&image, None, channels).blame_input()?;
        Ok(Canvas::Edit { image, strength })
    })
}
