//! LoRA and textual inversions that are added to a model when it is loaded.

use super::RegistryError;
use fewstep_formats::{Embedding, Embeddings, Loras};
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

/// A textual inversion that prompts may name.
#[derive(Clone, Debug, PartialEq)]
pub struct EmbeddingChoice {
    /// The file.
    pub file: PathBuf,
    /// What stands for it in prompts; by default what the file says, or its name.
    pub token: Option<String>,
}

/// The textual inversions of a model, read.
pub(super) fn embeddings(choices: &[EmbeddingChoice]) -> Result<Embeddings, RegistryError> {
    let read = choices.iter();
    let read = read.map(|choice| Embedding::read(&choice.file, choice.token.as_deref()));
    Ok(Embeddings::new(read.collect::<Result<_, _>>()?))
}

/// The LoRA of a model, read.
pub(super) fn read(choices: &[LoraChoice]) -> Result<Loras, RegistryError> {
    let files = choices.iter();
    Ok(Loras::read(
        files.map(|choice| (&*choice.file, choice.weight)),
    )?)
}
