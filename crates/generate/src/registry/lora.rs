//! LoRA that are added to a model when it is loaded.

use super::RegistryError;
use burn::tensor::Device;
use fewstep_formats::{FormatError, LoraFile, Model, TextEncoder};
use std::path::PathBuf;

/// A LoRA file, and how much of it is added to a model.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraChoice {
    /// The file.
    pub file: PathBuf,
    /// How many times it is added: 1 is as it was trained.
    pub weight: f64,
}

impl LoraChoice {
    /// The name of its file, without the ending.
    pub fn name(&self) -> String {
        let name = self.file.file_stem().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// How prompts of web interfaces name it: `<lora:name:weight>`.
    pub fn tag(&self) -> String {
        format!("<lora:{}:{}>", self.name(), self.weight)
    }
}

/// The LoRA of a model, read.
#[derive(Debug, Default)]
pub(crate) struct Loras(Vec<(LoraFile, f64)>);

impl Loras {
    pub(super) fn read(choices: &[LoraChoice]) -> Result<Self, RegistryError> {
        let read = choices
            .iter()
            .map(|choice| Ok((LoraFile::read(&choice.file)?, choice.weight)));
        read.collect::<Result<_, RegistryError>>().map(Self)
    }

    /// Adds them to the network of a model.
    pub(super) fn add_to(&self, mut model: Model, device: &Device) -> Result<Model, FormatError> {
        for (lora, weight) in &self.0 {
            model.network = lora.merge(*weight, model.network, device)?;
        }
        Ok(model)
    }

    /// Refuses those that change a text encoder, for a model that has none.
    pub(super) fn check_without_text(&self) -> Result<(), FormatError> {
        let mut loras = self.0.iter();
        loras.try_for_each(|(lora, _)| lora.check_without_text())
    }

    /// Adds them to a text encoder.
    pub(crate) fn add_to_text(
        &self,
        encoder: TextEncoder,
        device: &Device,
    ) -> Result<TextEncoder, FormatError> {
        let mut loras = self.0.iter();
        loras.try_fold(encoder, |encoder, (lora, weight)| {
            lora.merge_text(*weight, encoder, device)
        })
    }
}
