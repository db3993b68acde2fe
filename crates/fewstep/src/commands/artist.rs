//! Models of pixels and of latents behind one face, for verbs that do not care.

use crate::failure::{CliError, CliResult};
use crate::models;
use burn::tensor::{Device, Tensor};
use fewstep::{Canvas, Generator, Request, TextGenerator, TextRequest, Texts};
use fewstep_data::ImageShape;
use fewstep_data::image::Image;
use fewstep_formats::{Pipeline, TextEncoder};
use std::path::Path;

/// What draws.
pub(super) enum Artist {
    /// A model of pixels.
    Pixels(Box<Generator>),
    /// A latent diffusion model, which reads a text for each image, or the name of a class.
    Latents(Box<TextGenerator>, Box<TextEncoder>),
}

impl Artist {
    /// Loads what the user names after `--model`, with the ControlNet of another model folder, where one is given.
    pub(super) fn load(
        reference: &str,
        controlnet: Option<&Path>,
        steps: Option<usize>,
        device: &Device,
    ) -> CliResult<Self> {
        let latent = models::load_latent_adapted(reference, controlnet, steps, device)?;
        Ok(match latent {
            Some(Pipeline {
                model,
                vae,
                text_encoder,
                ..
            }) => {
                let generator = TextGenerator::new(model, vae, device)?;
                Self::Latents(Box::new(generator), Box::new(text_encoder))
            }
            None => {
                let model = models::load_adapted(reference, controlnet, steps, device)?;
                Self::Pixels(Box::new(Generator::new(model, device)?))
            }
        })
    }

    /// The generator of images or of latents.
    pub(super) fn generator(&self) -> &Generator {
        match self {
            Self::Pixels(generator) => generator,
            Self::Latents(generator, _) => generator.generator(),
        }
    }

    /// Whether an image is drawn from a text.
    pub(super) fn reads_texts(&self) -> bool {
        matches!(self, Self::Latents(..)) && self.classes().is_empty()
    }

    /// The names of the classes that it draws.
    pub(super) fn classes(&self) -> &[String] {
        match self {
            Self::Pixels(generator) => &generator.model().recipe.classes,
            Self::Latents(_, encoder) => encoder.classes(),
        }
    }

    /// Shape of the images that it was trained on.
    pub(super) fn shape(&self) -> ImageShape {
        match self {
            Self::Pixels(generator) => generator.shape(),
            Self::Latents(generator, _) => {
                let [height, width] = generator.usual_size();
                ImageShape {
                    channels: generator.channels(),
                    height,
                    width,
                }
            }
        }
    }

    /// Draws the images of a request, from control images `[images, channels, height, width]` where it takes
    /// such, and from as many texts where it reads them; the classes are those of the request.
    pub(super) fn draw(
        &self,
        controls: Option<Tensor<4>>,
        prompts: &[String],
        request: &Request,
        progress: &mut (dyn FnMut(usize) + Send),
    ) -> CliResult<Vec<Image>> {
        let (generator, encoder) = match self {
            Self::Pixels(generator) => {
                return Ok(match controls {
                    Some(controls) => generator.draw_from(&controls, request, progress)?,
                    None => generator.draw(request, progress)?,
                });
            }
            Self::Latents(generator, encoder) => (generator, encoder),
        };
        let size = match &controls {
            Some(controls) => {
                let [_, given @ ..] = controls.dims();
                generator.size_for(given)?
            }
            None => generator.usual_size(),
        };
        let class = |class: &Option<u32>| match class {
            Some(class) => encoder.classes()[*class as usize].clone(),
            None => String::new(),
        };
        let request = TextRequest {
            prompts: match self.reads_texts() {
                true => prompts.to_vec(),
                false => request.classes.iter().map(class).collect(),
            },
            negative: String::new(),
            size,
            first: request.first,
            seed: request.seed,
            steps: request.steps,
            sampler: request.sampler,
            w: request.w,
            batch: request.batch,
            canvas: Canvas::Blank,
            controls,
        };
        let texts = Texts::read((**encoder).clone(), &request);
        Ok(generator.draw(&request, &texts, progress)?)
    }
}

/// Refuses a flag for a model that reads no texts.
pub(super) fn reads_no_texts(flag: &str) -> CliError {
    CliError::input(format!(
        "{flag} needs a model that draws from texts: the folder of a latent diffusion model, with `unet`, `vae`, `text_encoder` and `tokenizer` in it"
    ))
}
