//! What the models of a road work on: images of classes, or latents of images that texts describe.

use crate::arguments::find_class;
use crate::commands::drawing::warn_if_cut;
use crate::failure::CliResult;
use burn::tensor::{Device, Tensor};
use fewstep::{Generator, from_images, to_images};
use fewstep_data::ImageShape;
use fewstep_data::image::Image;
use fewstep_diffusion::{Inputs, PromptEmbeds};
use fewstep_formats::Pipeline;
use fewstep_nn::{Tiles, Vae};

#[allow(
    clippy::large_enum_variant,
    reason = "a program has at most two of these"
)]
pub(super) enum Space {
    /// Images, which have classes.
    Images,
    /// Latents of images.
    Latents {
        vae: Vae,
        /// What the images show, and what they become.
        texts: [PromptEmbeds; 2],
    },
}

/// What images are told to be.
#[derive(Clone, Copy)]
pub(super) enum As<'a> {
    From(&'a str),
    To(&'a str),
}

impl Space {
    /// The latents of a pipeline, whose text encoder is not needed any more once both texts are read.
    pub(super) fn of_latents(pipeline: Pipeline, said: [&str; 2]) -> Self {
        let texts = said.map(|text| {
            warn_if_cut(&pipeline.text_encoder, text);
            pipeline.embed_prompts(&[text.into()], "").0
        });
        Self::Latents {
            vae: pipeline.vae,
            texts,
        }
    }

    /// The shape of the images that a generator's results stand for.
    pub(super) fn shape(&self, generator: &Generator) -> ImageShape {
        let shape = generator.shape();
        match self {
            Self::Images => shape,
            Self::Latents { vae, .. } => ImageShape {
                channels: vae.channels(),
                height: shape.height * vae.factor(),
                width: shape.width * vae.factor(),
            },
        }
    }

    /// How many images go through the networks at once. Those of latents are big.
    pub(super) fn together(&self) -> usize {
        match self {
            Self::Images => usize::MAX,
            Self::Latents { .. } => 1,
        }
    }

    /// What a generator is told of images: their class or their text, and the guidance weight.
    ///
    /// # Errors
    /// When it does not know the class.
    pub(super) fn inputs(
        &self,
        generator: &Generator,
        said: As<'_>,
        w: Option<f64>,
        count: usize,
    ) -> CliResult<Inputs> {
        let (index, name) = match said {
            As::From(name) => (0, name),
            As::To(name) => (1, name),
        };
        match self {
            Self::Images => {
                let class = find_class(name, &generator.model().recipe.classes)?;
                Ok(generator.inputs(&vec![Some(class); count], w))
            }
            Self::Latents { texts, .. } => {
                let PromptEmbeds { cond, uncond } = texts[index].clone();
                let [_, length, width] = cond.dims();
                let shape = [count, length, width];
                Ok(Inputs {
                    prompt: Some(PromptEmbeds {
                        cond: cond.expand(shape),
                        uncond: uncond.expand(shape),
                    }),
                    ..generator.inputs(&vec![None; count], w)
                })
            }
        }
    }

    /// Images as the networks take them.
    pub(super) fn enter(&self, images: &[Image], device: &Device) -> Tensor<4> {
        let batch = from_images(images, device);
        match self {
            Self::Images => batch,
            Self::Latents { vae, .. } => vae.encode(batch),
        }
    }

    /// Images out of what the networks made.
    pub(super) fn leave(&self, made: Tensor<4>) -> Vec<Image> {
        to_images(match self {
            Self::Images => made,
            Self::Latents { vae, .. } => vae.decode(made, Some(Tiles::default())),
        })
    }
}
