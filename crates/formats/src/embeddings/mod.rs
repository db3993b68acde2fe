//! Textual inversion: tokens that stand for vectors from a file (2208.01618).

mod file;

use crate::FormatError;
use crate::diffusers::text_encoder::TextEncoder;
use crate::tokenizers::ClipTokenizer;
use fewstep_nn::ClipText;
pub use file::Embedding;
pub(crate) use file::{FIRST, MOST, SECOND};

/// Textual inversions that texts of one model may name.
#[derive(Clone, Debug, Default)]
pub struct Embeddings(Vec<Embedding>);

impl Embeddings {
    /// Takes these.
    pub fn new(embeddings: Vec<Embedding>) -> Self {
        Self(embeddings)
    }

    /// A text encoder that knows their tokens.
    ///
    /// # Errors
    /// When one was made for another text encoder, or its token is known already.
    pub fn add_to(&self, encoder: TextEncoder) -> Result<TextEncoder, FormatError> {
        let mut embeddings = self.0.iter();
        embeddings.try_fold(encoder, |encoder, embedding| embedding.add_to(encoder))
    }

    /// Refuses them for a model without a text encoder.
    ///
    /// # Errors
    /// When there are any.
    pub fn check_without_text(&self) -> Result<(), FormatError> {
        match self.0.first() {
            Some(embedding) => Err(embedding.bad(NO_ENCODER.into())),
            None => Ok(()),
        }
    }
}

const NO_ENCODER: &str =
    "it is a token of prompts, and this model has no CLIP text encoder that reads them";

impl Embedding {
    fn add_to(&self, encoder: TextEncoder) -> Result<TextEncoder, FormatError> {
        let is_for = |encoders: usize| {
            match self.vectors.len() == encoders {
            true => Ok(()),
            false => Err(self.bad(format!(
                "it has vectors for {} text encoder{}, and this model has {encoders}: it was made for another kind of model",
                self.vectors.len(),
                if self.vectors.len() == 1 { "" } else { "s" }
            ))),
        }
        };
        Ok(match encoder {
            TextEncoder::Clip(mut tokenizer, mut network) => {
                is_for(1)?;
                self.add(0, &mut tokenizer, &mut network)?;
                TextEncoder::Clip(tokenizer, network)
            }
            TextEncoder::Two(mut encoders) => {
                is_for(2)?;
                let both = encoders.both_mut().into_iter().enumerate();
                for (number, (tokenizer, network)) in both {
                    self.add(number, tokenizer, network)?;
                }
                TextEncoder::Two(encoders)
            }
            TextEncoder::Bert(..) | TextEncoder::Classes(_) => {
                return Err(self.bad(NO_ENCODER.into()));
            }
        })
    }

    /// Adds the token to one encoder and its tokenizer.
    fn add(
        &self,
        encoder: usize,
        tokenizer: &mut ClipTokenizer,
        network: &mut ClipText,
    ) -> Result<(), FormatError> {
        let vectors = &self.vectors[encoder];
        let (got, width) = (vectors[0].len(), network.config().width);
        if got != width {
            return Err(self.bad(format!(
                "its vectors have {got} numbers, and those of this model's text encoder have {width}: it was made for another model"
            )));
        }
        let first = network.config().vocabulary as u32;
        let numbers = (first..).take(vectors.len()).collect();
        let added = tokenizer.add(self.token(), numbers);
        added.map_err(|reason| self.bad(reason))?;
        network.add_tokens(vectors);
        Ok(())
    }

    fn bad(&self, reason: String) -> FormatError {
        FormatError::Embedding {
            origin: self.origin.clone(),
            reason,
        }
    }

    /// The SHA-256 of its file, in hexadecimal digits.
    pub fn sha256(&self) -> String {
        self.digest
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}
