//! `fewstep inpaint`: images with a hole filled.

use super::conditional::{ConditionalArgs, Source, read, values};
use super::drawing::Job;
use crate::failure::{CliError, CliResult};
use crate::models;
use burn::tensor::Device;
use fewstep::Canvas;
use fewstep_data::condition::masked;
use fewstep_data::image::Image;
use fewstep_diffusion::Task;
use fewstep_formats::{ADAPTER_FILE, Pipeline};
use std::path::{Path, PathBuf};

/// Fill a hole in images: by the image alone, or as a text says.
///
/// Which of the two follows from the model. One that was distilled or taught to inpaint fills the hole by what is around
/// it (and by --prompt, where it works on latents), in any number of images, --count times each; all around the hole stays as
/// it is. A latent diffusion model for
/// inpainting, whose U-Net sees image and mask beside its latents, fills one image as --prompt says.
///
/// Example: fewstep inpaint --model runs/inpaint --image photo.png --mask hole.png --count 4 --out filled.png
///
/// Example: fewstep inpaint --model sd15-inpainting --image photo.png --mask hole.png --prompt "a red door"
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    job: Job,
    /// The image; may be given several times where no text is needed.
    #[arg(long = "image", value_name = "FILE", required = true)]
    images: Vec<PathBuf>,
    /// The hole, white where the image is to be filled and of its size; one for all images, or one for each.
    #[arg(long = "mask", value_name = "FILE", required = true)]
    masks: Vec<PathBuf>,
    /// The ControlNet of another model folder, in place of the model's own: one that was trained on the same base.
    #[arg(long, value_name = "FOLDER")]
    controlnet: Option<PathBuf>,
    /// The class to draw, by name or number, for models with classes; by default none in particular.
    #[arg(long, value_name = "CLASS")]
    class: Option<String>,
}

pub(crate) fn run(args: Args) -> CliResult {
    let device = args.job.device()?;
    let latent = models::latent_folder(&args.job.model, args.job.steps)?;
    let adapted = |folder: &Path| args.controlnet.is_some() || folder.join(ADAPTER_FILE).is_file();
    match latent {
        Some(folder) if !adapted(&folder) => {
            let pipeline = models::load_pipeline(&folder, &device)?;
            args.fill_by_text(pipeline, &device)
        }
        _ => args.fill_by_image(),
    }
}

impl Args {
    /// One image, with a model that draws from texts.
    fn fill_by_text(self, pipeline: Pipeline, device: &Device) -> CliResult {
        if self.class.is_some() {
            return Err(CliError::input(
                "--class does not go with this model, which fills images as a text says: give --prompt",
            ));
        }
        let ([image], [mask]) = (&self.images[..], &self.masks[..]) else {
            return Err(CliError::input(format!(
                "{} images and {} masks: a model that draws from texts fills one image at a time, so give one --image and one --mask",
                self.images.len(),
                self.masks.len()
            )));
        };
        self.job.draw(
            pipeline,
            None,
            |_, channels| {
                Ok(Canvas::Fill {
                    image: read(image, channels)?,
                    mask: read(mask, 1)?,
                })
            },
            device,
        )
    }

    /// Images, with a model that draws from images.
    fn fill_by_image(self) -> CliResult {
        let Self {
            job,
            images,
            masks,
            controlnet,
            class,
        } = self;
        let prompt = job.text.single()?;
        if job.first != 0 {
            return Err(CliError::input(
                "--first does not go with this model, which draws from images: their images are numbered in the order of --image",
            ));
        }
        if masks.len() != 1 && masks.len() != images.len() {
            return Err(CliError::input(format!(
                "{} images and {} masks: give one --mask for all images, or one for each",
                images.len(),
                masks.len()
            )));
        }
        let common = ConditionalArgs {
            out: job.images.sheet()?,
            model: job.model,
            controlnet,
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

/// An image with a hole as a condition.
fn holed(file: &Path, mask_file: &Path, channels: usize) -> CliResult<Source> {
    let image = read(file, channels)?;
    let mask = read(mask_file, 1)?;
    let size = |image: &Image| (image.shape.width, image.shape.height);
    if size(&mask) != size(&image) {
        return Err(CliError::input(format!(
            "{} has {}x{} pixels and the mask {} has {}x{}: a mask is as large as its image",
            file.display(),
            image.shape.width,
            image.shape.height,
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
    let known = values(&image);
    let control = masked(&known, &hole);
    let shape = image.shape;
    Ok(Source {
        shown: Image::from_f32(shape, &control[..shape.len()]),
        shape: [channels + 1, shape.height, shape.width],
        control,
        keep: Some((known, hole)),
    })
}
