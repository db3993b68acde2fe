//! Several LoRA files, each with how many times it counts.

use super::LoraFile;
use crate::diffusers::text_encoder::TextEncoder;
use crate::{FormatError, Model};
use burn::tensor::Device;
use sha2::{Digest, Sha256};
use std::path::Path;

/// LoRA files that are added to one model, each so many times.
#[derive(Clone, Debug, Default)]
pub struct Loras(Vec<(LoraFile, f64)>);

impl Loras {
    /// Reads files, each with how many times it is added.
    ///
    /// # Errors
    /// As [`LoraFile::read`].
    pub fn read<'a>(files: impl IntoIterator<Item = (&'a Path, f64)>) -> Result<Self, FormatError> {
        let files = files.into_iter();
        let read = files.map(|(file, weight)| Ok((LoraFile::read(file)?, weight)));
        read.collect::<Result<_, _>>().map(Self)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of them changes a text encoder.
    pub fn has_text(&self) -> bool {
        self.0.iter().any(|(lora, _)| lora.has_text())
    }

    /// A model with all of them added to the weights of its network.
    ///
    /// # Errors
    /// As [`LoraFile::merge`].
    pub fn add_to(&self, mut model: Model, device: &Device) -> Result<Model, FormatError> {
        for (lora, weight) in &self.0 {
            model.network = lora.merge(*weight, model.network, device)?;
        }
        Ok(model)
    }

    /// Refuses those that change a text encoder, for a model that has none.
    ///
    /// # Errors
    /// As [`LoraFile::check_without_text`].
    pub fn check_without_text(&self) -> Result<(), FormatError> {
        let mut loras = self.0.iter();
        loras.try_for_each(|(lora, _)| lora.check_without_text())
    }

    /// A text encoder with all of them added to its weights.
    ///
    /// # Errors
    /// As [`LoraFile::merge_text`].
    pub fn add_to_text(
        &self,
        encoder: TextEncoder,
        device: &Device,
    ) -> Result<TextEncoder, FormatError> {
        let mut loras = self.0.iter();
        loras.try_fold(encoder, |encoder, (lora, weight)| {
            lora.merge_text(*weight, encoder, device)
        })
    }

    /// Feeds the contents and weights of those that change a text encoder to a hash.
    pub(crate) fn hash_of_text(&self, hash: &mut Sha256) {
        for (lora, weight) in self.0.iter().filter(|(lora, _)| lora.has_text()) {
            hash.update(lora.digest);
            hash.update(weight.to_le_bytes());
        }
    }
}
