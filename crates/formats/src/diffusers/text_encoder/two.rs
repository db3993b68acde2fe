//! The two text encoders of SDXL: CLIP, and OpenCLIP with a projection.

use super::clip;
use crate::FormatError;
use crate::diffusers::part::Part;
use crate::tokenizers::{ClipTokenizer, Tokens};
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use fewstep_diffusion::TextEmbeds;
use fewstep_nn::ClipText;
use std::path::Path;

/// Two encoders, whose states before the last layer are side by side. The pooled embedding is that
/// of the second.
#[derive(Clone, Debug)]
pub struct TwoClips {
    first: (ClipTokenizer, ClipText),
    second: (ClipTokenizer, ClipText),
    zero_empty: bool,
}

impl TwoClips {
    /// Reads `text_encoder`, `text_encoder_2` and their tokenizers in a folder.
    pub(super) fn load(
        folder: &Path,
        zero_empty: bool,
        device: &Device,
    ) -> Result<Self, FormatError> {
        let read = |part: Part, words: &str| {
            let encoder = folder.join(part.folder());
            let network = clip::read(&encoder, part, device)?;
            let (positions, known) = (network.config().positions, network.config().vocabulary);
            let tokenizer = ClipTokenizer::load(&folder.join(words), positions)?;
            match tokenizer.vocabulary() > known {
                true => Err(bad(
                    &encoder,
                    format!(
                        "its tokenizer has {} tokens, and the text encoder knows {known}",
                        tokenizer.vocabulary()
                    ),
                )),
                false => Ok((tokenizer, network)),
            }
        };
        let first = read(Part::TextEncoder, "tokenizer")?;
        let second = read(Part::TextEncoder2, "tokenizer_2")?;
        let [ours, theirs] = [&first, &second].map(|(tokenizer, _)| tokenizer.length());
        match ours == theirs {
            true => Ok(Self {
                first,
                second,
                zero_empty,
            }),
            false => Err(bad(
                folder,
                format!(
                    "texts have {ours} tokens in `tokenizer` and {theirs} in `tokenizer_2`: both must be as long"
                ),
            )),
        }
    }

    /// The networks in the order of their folders.
    pub fn networks(&self) -> [&ClipText; 2] {
        [&self.first.1, &self.second.1]
    }

    pub(crate) fn networks_mut(&mut self) -> [&mut ClipText; 2] {
        [&mut self.first.1, &mut self.second.1]
    }

    /// Both with their tokenizers.
    pub(crate) fn both_mut(&mut self) -> [(&mut ClipTokenizer, &mut ClipText); 2] {
        [&mut self.first, &mut self.second].map(|(tokenizer, network)| (tokenizer, network))
    }

    /// The tokens of a text for each of them.
    pub fn tokens_of_both(&self, text: &str) -> [Tokens; 2] {
        [&self.first, &self.second].map(|(tokenizer, _)| tokenizer.encode(text))
    }

    pub(super) fn zero_empty(&self) -> bool {
        self.zero_empty
    }

    /// The embeddings of texts; `numbers` are their tokens for the first encoder.
    pub(super) fn forward(
        &self,
        texts: &[String],
        numbers: &[Vec<u32>],
        clip_skip: usize,
    ) -> TextEmbeds {
        let (tokenizer, network) = &self.second;
        let others = texts.iter().map(|text| tokenizer.encode(text).numbers);
        let second = network.penultimate(&others.collect::<Vec<_>>(), clip_skip);
        let first = self.first.1.penultimate(numbers, clip_skip).penultimate;
        TextEmbeds {
            states: Tensor::cat(vec![first, second.penultimate], 2),
            pooled: second.pooled,
        }
    }

    /// The tokens for the first encoder. The second cuts where the first does, since its
    /// vocabulary is the same.
    pub(super) fn tokens(&self, text: &str) -> Tokens {
        self.first.0.encode(text)
    }

    pub(super) fn width(&self) -> usize {
        let widths = self.networks().map(|network| network.config().width);
        widths.iter().sum()
    }

    pub(super) fn pooled(&self) -> usize {
        self.second.1.config().projection.unwrap_or(0)
    }

    pub(super) fn length(&self) -> usize {
        self.first.0.length()
    }

    pub(super) fn vocabulary_without_added(&self) -> Option<usize> {
        let both = [&self.first, &self.second];
        let known = both.map(|(tokenizer, _)| tokenizer.vocabulary_without_added());
        known.into_iter().flatten().min()
    }

    pub(super) fn parameters(&self) -> usize {
        let counts = self.networks().map(Module::num_params);
        counts.iter().sum()
    }
}

fn bad(origin: &Path, reason: String) -> FormatError {
    FormatError::BadDescription {
        origin: origin.display().to_string(),
        reason,
    }
}
