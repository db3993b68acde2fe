//! Why a model cannot be found or loaded.

use crate::GenerateError;
use fewstep_formats::FormatError;
use std::path::{Path, PathBuf};

/// A model that cannot be found or loaded.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// There is no builtin model of this name.
    #[error("there is no builtin model `{name}`; there are: {}", known.join(", "))]
    NoBuiltin {
        /// The name.
        name: String,
        /// All names.
        known: Vec<&'static str>,
    },
    /// No name at all.
    #[error("the name of the model is empty: give a folder, a file or a name")]
    NoName,
    /// A path that leads nowhere.
    #[error(
        "cannot read {}: No such file or directory: there is no `{missing}` in {}{}",
        path.display(),
        match folder == Path::new(".") {
            true => "this folder".into(),
            false => folder.display().to_string(),
        },
        nearest.as_ref().map_or(String::new(), |name| format!(". Did you mean `{name}`?"))
    )]
    NoPath {
        /// The path.
        path: PathBuf,
        /// The first part of it that is missing.
        missing: String,
        /// The folder that lacks it.
        folder: PathBuf,
        /// What the folder has instead, if something is like it.
        nearest: Option<String>,
    },
    /// A recipe, which is no model yet.
    #[error("{} is a recipe and no model: run it, and give the folder of its run", .0.display())]
    Recipe(PathBuf),
    /// A file that is no model by itself.
    #[error(
        "{} holds {what}, which cannot be used as it is: expected a model folder, or the .safetensors file in one",
        path.display()
    )]
    OtherFile {
        /// The file.
        path: PathBuf,
        /// What is in it.
        what: &'static str,
    },
    /// A run that has finished no phase.
    #[error("{} holds no model yet, since its run has finished no phase: resume the run and let it finish one", folder.display())]
    NoModelYet {
        /// Its folder of models.
        folder: PathBuf,
    },
    /// A file that cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A name that is on no hub and in no cache.
    #[error("{0}")]
    Hub(String),
    /// A model or a part of one that cannot be read.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A model that cannot generate.
    #[error(transparent)]
    Generate(#[from] GenerateError),
}

impl RegistryError {
    /// What is wrong with a LoRA, if that is why the model cannot be loaded.
    pub fn of_lora(&self) -> Option<&str> {
        match self {
            Self::Format(FormatError::Lora { reason, .. })
            | Self::Generate(GenerateError::Format(FormatError::Lora { reason, .. })) => {
                Some(reason)
            }
            _ => None,
        }
    }
}
