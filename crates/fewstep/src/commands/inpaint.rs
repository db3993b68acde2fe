//! `fewstep inpaint`: pictures with a hole filled.

use super::conditional::{ConditionalArgs, Source, read, values};
use super::drawing::Job;
use crate::failure::{Failure, Outcome};
use crate::models;
use burn::tensor::Device;
use fewstep::Canvas;
use fewstep_data::condition::masked;
use fewstep_data::picture::Picture;
use fewstep_diffusion::Task;
use fewstep_formats::{ADAPTER_FILE, Pipeline};
use std::path::{Path, PathBuf};

/// Fill a hole in pictures: by the picture alone, or as a text says.
///
/// Which of the two follows from the model. One that was distilled or taught to inpaint fills the hole by what is around
/// it (and by --prompt, where it works on latents), in any number of pictures, --count times each; all around the hole stays as
/// it is. A latent diffusion model for
/// inpainting, whose U-Net sees picture and mask beside its latents, fills one picture as --prompt says.
///
/// Example: fewstep inpaint --model runs/inpaint --image photo.png --mask hole.png --count 4 --out filled.png
///
/// Example: fewstep inpaint --model sd15-inpainting --image photo.png --mask hole.png --prompt "a red door"
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    job: Job,
    /// The picture; may be given several times where no text is needed.
    #[arg(long = "image", value_name = "FILE", required = true)]
    images: Vec<PathBuf>,
    /// The hole, white where the picture is to be filled and of its size; one for all images, or one for each.
    #[arg(long = "mask", value_name = "FILE", required = true)]
    masks: Vec<PathBuf>,
    /// The adapter of another model folder, in place of the model's own: one that was trained on the same base.
    #[arg(long, value_name = "FOLDER")]
    adapter: Option<PathBuf>,
    /// The class to draw, by name or number, for models with classes; by default none in particular.
    #[arg(long, value_name = "CLASS")]
    class: Option<String>,
}

pub(crate) fn run(args: Args) -> Outcome {
    let device = args.job.device()?;
    let latent = models::latent_folder(&args.job.model, args.job.steps)?;
    let adapted = |folder: &Path| args.adapter.is_some() || folder.join(ADAPTER_FILE).is_file();
    match latent {
        Some(folder) if !adapted(&folder) => {
            let pipeline = models::load_pipeline(&folder, &device)?;
            args.fill_by_text(pipeline, &device)
        }
        _ => args.fill_by_picture(),
    }
}

impl Args {
    /// One picture, with a model that draws from texts.
    fn fill_by_text(self, pipeline: Pipeline, device: &Device) -> Outcome {
        if self.class.is_some() {
            return Err(Failure::input(
                "--class does not go with this model, which fills pictures as a text says: give --prompt",
            ));
        }
        let ([image], [mask]) = (&self.images[..], &self.masks[..]) else {
            return Err(Failure::input(format!(
                "{} images and {} masks: a model that draws from texts fills one picture at a time, so give one --image and one --mask",
                self.images.len(),
                self.masks.len()
            )));
        };
        self.job.draw(
            pipeline,
            None,
            |_, channels| {
                Ok(Canvas::Fill {
                    picture: read(image, channels)?,
                    mask: read(mask, 1)?,
                })
            },
            device,
        )
    }

    /// Pictures, with a model that draws from images.
    fn fill_by_picture(self) -> Outcome {
        let Self {
            job,
            images,
            masks,
            adapter,
            class,
        } = self;
        let prompt = job.text.single()?;
        if job.first != 0 {
            return Err(Failure::input(
                "--first does not go with this model, which draws from images: their pictures are numbered in the order of --image",
            ));
        }
        if masks.len() != 1 && masks.len() != images.len() {
            return Err(Failure::input(format!(
                "{} images and {} masks: give one --mask for all images, or one for each",
                images.len(),
                masks.len()
            )));
        }
        let common = ConditionalArgs {
            out: job.pictures.sheet()?,
            model: job.model,
            adapter,
            images,
            steps: job.steps,
            guidance: job.guidance,
            sampler: job.sampler,
            precision: job.precision,
            prompt,
            class,
            count: job.count.unwrap_or(1),
            seed: job.seed,
            batch: job.batch.unwrap_or(16),
            json: job.json,
        };
        common.run(Task::Inpaint, |n, file, [channels, _]| {
            holed(file, &masks[n.min(masks.len() - 1)], channels)
        })
    }
}

/// A picture with a hole as a condition.
fn holed(file: &Path, mask_file: &Path, channels: usize) -> Outcome<Source> {
    let picture = read(file, channels)?;
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
}
