//! `fewstep inpaint`: pictures with a hole filled.

use super::conditional::{ConditionalArgs, Source, read, values};
use crate::failure::{Failure, Outcome};
use fewstep_data::condition::masked;
use fewstep_data::picture::Picture;
use fewstep_diffusion::Task;
use std::path::PathBuf;

/// Fill a hole in pictures; all around it stays as it is.
///
/// Example: fewstep inpaint --model runs/inpaint --image photo.png --mask hole.png --count 4 --out filled.png
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    common: ConditionalArgs,
    /// The hole, white where the picture is to be filled and of its size; one for all images, or one for each.
    #[arg(long = "mask", value_name = "FILE", required = true)]
    masks: Vec<PathBuf>,
}

pub(crate) fn run(args: Args) -> Outcome {
    let (images, masks) = (args.common.images.len(), args.masks.len());
    if masks != 1 && masks != images {
        return Err(Failure::input(format!(
            "{images} images and {masks} masks: give one --mask for all images, or one for each"
        )));
    }
    args.common.run(Task::Inpaint, |n, file, [channels, _]| {
        let picture = read(file, channels)?;
        let mask_file = &args.masks[n.min(masks - 1)];
        let mask = read(mask_file, 1)?;
        let size = |picture: &Picture| (picture.shape.width, picture.shape.height);
        if size(&mask) != size(&picture) {
            return Err(Failure::input(format!(
                "{} has {}x{} pixels and the mask {} has {}x{}: a mask is as large as its picture",
                file.display(),
                picture.shape.width,
                picture.shape.height,
                mask_file.display(),
                mask.shape.width,
                mask.shape.height
            )));
        }
        let hole: Vec<f32> = mask
            .pixels
            .iter()
            .map(|&v| f32::from(u8::from(v >= 128)))
            .collect();
        let known = values(&picture);
        let hint = masked(&known, &hole);
        let shape = picture.shape;
        Ok(Source {
            shown: Picture::from_f32(shape, &hint[..shape.len()]),
            shape: [channels + 1, shape.height, shape.width],
            hint,
            keep: Some((known, hole)),
        })
    })
}
