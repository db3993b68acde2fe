//! Why a model cannot be found or loaded.

use crate::GenerateError;
use fewstep_formats::FormatError;
use std::path::PathBuf;

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
    /// A run that has finished no phase.
    #[error("{} holds no model yet: let the run finish its first phase", folder.display())]
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
