//! Why a run stops.

use crate::method::MethodError;
use crate::optim::NotFinite;
use fewstep_data::DataError;
use fewstep_formats::FormatError;
use fewstep_nn::ConfigError;
use fewstep_world::WorldError;
use std::path::PathBuf;

/// A run that cannot go on. Whatever was saved before is untouched.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The loss or the gradient is NaN or infinite.
    #[error("phase `{phase}`, {source}. {last_good}")]
    NotFinite {
        /// Name of the phase.
        phase: String,
        /// What and where, with the indices of the samples in the dataset.
        source: NotFinite,
        /// Where to go on from.
        last_good: String,
    },
    /// A model or checkpoint cannot be read or written.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A file of the run folder cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file or folder of the run cannot be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another process works in the folder.
    #[error("{folder} is in use by {owner}: wait until it ends, or stop it")]
    InUse {
        /// The folder.
        folder: PathBuf,
        /// Process and host, as far as they are known.
        owner: String,
    },
    /// A run that cannot be resumed like this.
    #[error("{0}")]
    NotResumable(String),
    /// Training examples cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A method that cannot work with the model before it.
    #[error(transparent)]
    Method(#[from] MethodError),
    /// A precision that the device does not have.
    #[error(transparent)]
    Precision(#[from] ConfigError),
    /// Players that cannot be told apart, or whose turns do not go with the run.
    #[error("{0}")]
    Player(String),
    /// Other ranks are not there any more, or were started on something else.
    #[error(transparent)]
    World(#[from] WorldError),
    /// More ranks than a batch has parts.
    #[error("phase `{phase}`: {reason}")]
    TooManyRanks {
        /// Name of the phase.
        phase: String,
        /// How many there can be, and what makes more of them useful.
        reason: String,
    },
    /// A trial update whose numbers are not finite.
    #[error("a trial update failed: {0}")]
    Trial(NotFinite),
    /// A damaged checkpoint.
    #[error("checkpoint {path} cannot be used: {reason}. Delete it to go on from the one before")]
    Checkpoint {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl RunError {
    pub(super) fn reading(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Read { path, source }
    }

    pub(super) fn writing(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Write { path, source }
    }
}
