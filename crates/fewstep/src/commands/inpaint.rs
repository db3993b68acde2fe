//! `fewstep inpaint`: images with a masked part filled.

use super::shared::controlled::{ControlNetArgs, ControlledArgs, Source};
use super::shared::generate::PromptedArgs;
use super::shared::image_files::SheetArgs;
use super::shared::inputs::InputArgs;
use crate::error::{CliError, CliResult};
use fewstep_data::image::Image;
use fewstep_diffusion::Task;
use fewstep_generate::{ControlImage, Init, ModelSource};
use std::path::{Path, PathBuf};

/// Fill the masked part of an image, to match the rest or as a prompt says. The rest stays as it
/// is.
///
/// Which of the two depends on the model. A model that learnt to inpaint from control images, or
/// has a ControlNet for it, fills any number of images to match the rest of them, --count times
/// each; if it is a latent model, it follows --prompt too. A latent diffusion model for inpainting,
/// whose U-Net takes the mask and the masked image as extra channels, fills one image as --prompt
/// says.
///
/// Example: fewstep inpaint --model runs/inpaint --image photo.png --mask mask.png --count 4 --out
/// filled.png
///
/// Example: fewstep inpaint --model runs/sd15-inpainting --image photo.png --mask mask.png --prompt
/// "a red door"
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    prompted: PromptedArgs,
    /// The image; may be given several times for a model that learnt to inpaint from control
    /// images.
    #[arg(long = "image", value_name = "FILE", required = true)]
    images: Vec<PathBuf>,
    /// The mask, as large as its image, and white where the image is to be filled; one for all
    /// images, or one for each.
    #[arg(long = "mask", value_name = "FILE", required = true)]
    masks: Vec<PathBuf>,
    #[command(flatten)]
    inputs: InputArgs,
    #[command(flatten)]
    controlnet: ControlNetArgs,
    /// The class to generate, by name or number, for models with classes [default: no class].
    #[arg(long, value_name = "CLASS")]
    class: Option<String>,
    #[command(flatten)]
    sheet: SheetArgs,
}

pub(crate) fn run(args: Args) -> CliResult {
    args.prompted.images.check()?;
    args.sheet.check(&args.prompted.images)?;
    let generate = &args.prompted.generate;
    let source = ModelSource::find(&generate.model, generate.steps)?;
    let by_control = args.controlnet.controlnet.is_some() || source.has_controlnet();
    match source.is_latent() && !by_control {
        true => args.fill_by_prompt(),
        false => args.fill_by_control(),
    }
}

impl Args {
    /// One image, with a model that generates from prompts.
    fn fill_by_prompt(mut self) -> CliResult {
        if self.class.is_some() {
            return Err(CliError::input(
                "--class does not go with this model, which fills images as a prompt says: use --prompt",
            ));
        }
        let ([image], [mask]) = (&self.images[..], &self.masks[..]) else {
            return Err(CliError::input(format!(
                "{} images and {} masks: a model that generates from prompts fills one image at a time, so give one --image and one --mask",
                self.images.len(),
                self.masks.len()
            )));
        };
        let inputs = [image.as_path(), mask.as_path()];
        let generator = self.prompted.load(None)?;
        let subjects = self.prompted.prompts.subjects(&generator, None)?;
        let channels = generator.image_shape().channels;
        let image = opaque(self.inputs, image, channels)?;
        let mask = self.inputs.mask(mask)?;
        let shown = match image.shape.same_size(mask.shape) {
            true => shown(&image, &mask),
            false => image.clone(),
        };
        let init = Init::Inpaint {
            image: image.into(),
            mask: mask.into(),
        };
        let count = subjects.len();
        self.prompted
            .run(&generator, &subjects, count, init, &inputs, |images| {
                self.sheet.write(&[shown], images)
            })
    }

    /// Any number of images, with a model that learnt to inpaint from control images.
    fn fill_by_control(self) -> CliResult {
        let Self {
            prompted,
            images,
            masks,
            inputs,
            controlnet,
            class,
            sheet,
        } = self;
        let prompt = prompted.prompts.single()?;
        if prompted.first != 0 {
            return Err(CliError::input(
                "--first does not go with this model, which generates from control images: images are numbered in the order of --image",
            ));
        }
        if masks.len() != 1 && masks.len() != images.len() {
            return Err(CliError::input(format!(
                "{} images and {} masks: give one --mask for all images, or one for each",
                images.len(),
                masks.len()
            )));
        }
        let common = ControlledArgs {
            negative_prompt: prompted.prompts.negative_prompt,
            files: prompted.images,
            sheet,
            more_inputs: masks.clone(),
            generate: prompted.generate,
            controlnet,
            images,
            inputs,
            prompt,
            class,
        };
        common.run(Task::Inpaint, |n, file, [channels, _]| {
            source(inputs, file, &masks[n.min(masks.len() - 1)], channels)
        })
    }
}

/// An image with a mask.
fn source(inputs: InputArgs, file: &Path, mask_file: &Path, channels: usize) -> CliResult<Source> {
    let image = opaque(inputs, file, channels)?;
    let mask = inputs.mask(mask_file)?;
    let shape = image.shape;
    if !mask.shape.same_size(shape) {
        return Err(CliError::input(format!(
            "{} has {}x{} pixels and the mask {} has {}x{}: a mask is as large as its image",
            file.display(),
            shape.width,
            shape.height,
            mask_file.display(),
            mask.shape.width,
            mask.shape.height
        )));
    }
    Ok(Source {
        shown: shown(&image, &mask),
        alpha: None,
        init: Init::Inpaint {
            image: image.into(),
            mask: mask.into(),
        },
        control: None,
    })
}

/// An image without its alpha channel, which results do not have either.
fn opaque(inputs: InputArgs, file: &Path, channels: usize) -> CliResult<Image> {
    let (image, alpha) = inputs.image_with_alpha(file, channels)?;
    if alpha.is_some_and(|alpha| alpha.pixels.iter().any(|value| *value < 255)) {
        eprintln!(
            "warning: {} has transparent parts, which become white: an image that is filled has no alpha channel",
            file.display()
        );
    }
    Ok(image)
}

/// The image with the masked part in grey.
fn shown(image: &Image, mask: &Image) -> Image {
    let masked = ControlImage::masked(image, mask).values;
    Image::from_f32(image.shape, &masked[..image.shape.len()])
}
