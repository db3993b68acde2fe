//! What the models of a road work on: pictures of classes, or latents of pictures that texts describe.

use crate::arguments::find_class;
use crate::commands::drawing::warn_if_cut;
use crate::failure::Outcome;
use burn::tensor::{Device, Tensor};
use fewstep::{Generator, from_pictures, to_pictures};
use fewstep_data::ImageShape;
use fewstep_data::picture::Picture;
use fewstep_diffusion::{Conditioning, Text};
use fewstep_formats::Pipeline;
use fewstep_nn::{Codec, Tiles};

#[allow(
    clippy::large_enum_variant,
    reason = "a program has at most two of these"
)]
pub(super) enum Space {
    /// Pictures, which have classes.
    Pictures,
    /// Latents of pictures.
    Latents {
        codec: Codec,
        /// What the pictures show, and what they become.
        texts: [Text; 2],
    },
}

/// What pictures are told to be.
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
            pipeline.text(&[text.into()], "").0
        });
        Self::Latents {
            codec: pipeline.codec,
            texts,
        }
    }

    /// The shape of the pictures that a generator's results stand for.
    pub(super) fn shape(&self, generator: &Generator) -> ImageShape {
        let shape = generator.shape();
        match self {
            Self::Pictures => shape,
            Self::Latents { codec, .. } => ImageShape {
                channels: codec.channels(),
                height: shape.height * codec.factor(),
                width: shape.width * codec.factor(),
            },
        }
    }

    /// How many pictures go through the networks at once. Those of latents are big.
    pub(super) fn together(&self) -> usize {
        match self {
            Self::Pictures => usize::MAX,
            Self::Latents { .. } => 1,
        }
    }

    /// What a generator is told of pictures: their class or their text, and the guidance weight.
    ///
    /// # Errors
    /// When it does not know the class.
    pub(super) fn conditioning(
        &self,
        generator: &Generator,
        said: As<'_>,
        w: Option<f64>,
        count: usize,
    ) -> Outcome<Conditioning> {
        let (index, name) = match said {
            As::From(name) => (0, name),
            As::To(name) => (1, name),
        };
        match self {
            Self::Pictures => {
                let class = find_class(name, &generator.model().recipe.classes)?;
                Ok(generator.conditioning(&vec![Some(class); count], w))
            }
            Self::Latents { texts, .. } => {
                let Text { states, empty } = texts[index].clone();
                let [_, length, width] = states.dims();
                let shape = [count, length, width];
                Ok(Conditioning {
                    text: Some(Text {
                        states: states.expand(shape),
                        empty: empty.expand(shape),
                    }),
                    ..generator.conditioning(&vec![None; count], w)
                })
            }
        }
    }

    /// Pictures as the networks take them.
    pub(super) fn enter(&self, pictures: &[Picture], device: &Device) -> Tensor<4> {
        let batch = from_pictures(pictures, device);
        match self {
            Self::Pictures => batch,
            Self::Latents { codec, .. } => codec.encode(batch),
        }
    }

    /// Pictures out of what the networks made.
    pub(super) fn leave(&self, made: Tensor<4>) -> Vec<Picture> {
        to_pictures(match self {
            Self::Pictures => made,
            Self::Latents { codec, .. } => codec.decode(made, Some(Tiles::default())),
        })
    }
}
