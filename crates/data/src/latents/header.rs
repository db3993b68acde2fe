//! The header of a cache of latents.

use crate::cache::{CacheHeader, F32, I64, TensorSpec};
use crate::{HostArray, HostTexts, ImageShape};
use fewstep_diffusion::TimeIds;
use serde::{Deserialize, Serialize};

/// What a cache holds, and what it was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatentsHeader {
    /// Digest of all that the contents depend on: images, captions, networks.
    pub key: String,
    /// What to call the set.
    pub name: String,
    /// Digest of images and captions.
    pub fingerprint: String,
    /// A few of the captions, to generate sample images from.
    pub some: Vec<String>,
    /// The text of each example, as an index into the states; 0 is the empty text, which no example
    /// has.
    #[serde(skip)]
    pub captions: Vec<u32>,
    /// Channels, height and width of a latent.
    pub latent: [usize; 3],
    /// Tokens of a text, and features of each token.
    pub states: [usize; 2],
    /// Features of the pooled embedding of a text; 0 for models that take none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub pooled: usize,
    /// Height and width of the images, for models that are told them; else 0.
    #[serde(default, skip_serializing_if = "is_none")]
    pub image: [usize; 2],
    /// Whether the mirrored images have latents too.
    pub mirrored: bool,
    /// The names of the classes, for a set whose captions are these names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    /// Masks of each copy of an image; 0 for models that do no inpainting.
    #[serde(default, skip_serializing_if = "is_zero", alias = "holes")]
    pub masks: usize,
    /// Whether the latents of a source image belong to each copy of an image, for models that edit
    /// by instruction.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub source_images: bool,
}

fn is_zero(value: &usize) -> bool {
    *value == 0
}
fn is_none(value: &[usize; 2]) -> bool {
    *value == [0, 0]
}

impl LatentsHeader {
    /// The shape of a latent.
    pub fn shape(&self) -> ImageShape {
        let [channels, height, width] = self.latent;
        ImageShape {
            channels,
            height,
            width,
        }
    }

    pub(super) fn texts(&self) -> usize {
        1 + self.captions.iter().max().map_or(0, |&last| last as usize)
    }

    pub(super) fn copies(&self) -> usize {
        1 + usize::from(self.mirrored)
    }

    pub(super) fn latent_len(&self) -> usize {
        self.latent.iter().product()
    }

    /// Maps of each copy of an image of which one is concatenated to its latent.
    pub(crate) fn concats(&self) -> usize {
        match self.source_images {
            true => 1,
            false => self.masks,
        }
    }

    /// Channels, height and width of what is concatenated to a latent: the latents of the source
    /// image, or a mask and those of the masked image.
    pub(super) fn concat(&self) -> [usize; 3] {
        let [channels, height, width] = self.latent;
        [channels + usize::from(!self.source_images), height, width]
    }

    pub(super) fn states_len(&self) -> usize {
        self.states.iter().product()
    }

    /// The embeddings of no texts, to add some to.
    pub(super) fn no_texts(&self) -> HostTexts {
        HostTexts {
            states: HostArray {
                values: vec![],
                shape: self.states,
            },
            pooled: (self.pooled > 0).then(|| HostArray {
                values: vec![],
                shape: [self.pooled],
            }),
        }
    }

    /// What a model is told of the size of every image. It is always that of a whole image of the
    /// training size, as when images are generated, whatever was cropped.
    pub(super) fn time_ids(&self) -> Option<TimeIds> {
        (self.pooled > 0).then(|| TimeIds::whole(self.image))
    }
}

/// The header as it is stored, with the numbers that follow from the captions.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredHeader {
    #[serde(flatten)]
    pub(super) header: LatentsHeader,
    pub(super) examples: usize,
    pub(super) texts: usize,
}

impl CacheHeader for StoredHeader {
    const KIND: &'static str = "fewstep-latents";

    fn key(&self) -> &str {
        &self.header.key
    }

    fn tensors(&self) -> Vec<TensorSpec> {
        let header = &self.header;
        let copies = [self.examples, header.copies()];
        let tensor = |name, dtype, shape| TensorSpec { name, dtype, shape };
        let concat = [&copies[..], &[header.concats()], &header.concat()].concat();
        let states = [&[self.texts][..], &header.states].concat();
        let pooled =
            (header.pooled > 0).then(|| tensor("pooled", F32, vec![self.texts, header.pooled]));
        let mut tensors = vec![
            tensor("captions", I64, vec![self.examples]),
            tensor("latents", F32, [&copies[..], &header.latent].concat()),
            tensor("concat", F32, concat),
            tensor("states", F32, states),
        ];
        tensors.extend(pooled);
        tensors
    }
}

/// The order of the tensors.
pub(super) const CAPTIONS: usize = 0;
pub(super) const LATENTS: usize = 1;
/// Caches of earlier versions call it `beside`; only the order of the tensors counts.
pub(super) const CONCAT: usize = 2;
pub(super) const STATES: usize = 3;
pub(super) const POOLED: usize = 4;
