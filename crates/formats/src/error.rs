//! What can be wrong with a model file.

use crate::names::plain;
use std::path::{Path, PathBuf};

/// A model that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// The file or folder is not there or cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file cannot be written: a full or read-only disk, no permission.
    #[error("cannot write {path}: {source}. Nothing that was there has been changed")]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A folder is to be made where something is already.
    #[error(
        "{path} is there already: a new folder is written, and nothing that exists is written over; choose another name, or remove it first"
    )]
    Occupied {
        /// Which.
        path: PathBuf,
    },
    /// A link in a model's folder that leads out of it.
    #[error(
        "{path} is a symbolic link that leads out of the model's folder, to {target}: put a copy of that file in its place if it belongs to the model"
    )]
    LinkOutside {
        /// The link.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// Weights that are infinite or not a number.
    #[error(
        "{origin} holds weights that are infinite or not a number, and would give empty images: {}. It is damaged, or its training diverged: use another copy or an earlier checkpoint",
        list(names)
    )]
    NotFinite {
        /// Which.
        origin: String,
        /// The names of the tensors.
        names: Vec<String>,
    },
    /// Not a safetensors file, or a truncated one.
    #[error(
        "{origin} is not a whole safetensors file ({reason}): {}",
        instead_of(origin)
    )]
    NotSafetensors {
        /// Which.
        origin: String,
        /// What the reader said.
        reason: String,
    },
    /// Weights in floats of 8 bits.
    #[error(
        "{origin} has weights in {kind} (floats of 8 bits), which are not read: use a copy in f16, bf16 or f32"
    )]
    EightBits {
        /// Which.
        origin: String,
        /// The name of the type.
        kind: String,
    },
    /// A single file without a U-Net.
    #[error(
        "{origin} holds no U-Net, neither under the names of single files (`model.diffusion_model.*`, with or without that prefix) nor under those of diffusers"
    )]
    NoUNet {
        /// Which.
        origin: String,
    },
    /// Not a GGUF file, or a truncated one.
    #[error("{origin} is not a whole GGUF file ({reason}): copy or download it again")]
    NotGguf {
        /// Which.
        origin: String,
        /// What is wrong.
        reason: String,
    },
    /// Pickled weights that are not read.
    #[error("{origin} holds pickled weights that cannot be read: {reason}")]
    Pickle {
        /// Which.
        origin: String,
        /// What is in the way.
        reason: String,
    },
    /// Pickled weights that were not asked for.
    #[error(
        "{origin} holds pickled weights: such a file can run code in other programs, and is read on request only"
    )]
    PickleRefused {
        /// Which.
        origin: String,
    },
    /// A folder whose weights are only there as a pickle.
    #[error(
        "{path} holds its weights only as a pickled file (.bin), which can run code in other programs: expected weights as .safetensors"
    )]
    OnlyPickled {
        /// Which.
        path: PathBuf,
    },
    /// A student whose input for w has no place in the format.
    #[error(
        "{origin} has an input for w, which readers of these files ignore: fold one w in first"
    )]
    InputForW {
        /// Which.
        origin: String,
    },
    /// A single file that says too little of its model.
    #[error(
        "{origin} holds no table of classes, `{tensor}`: a model that reads texts needs the tokenizer and the configurations of another"
    )]
    NeedsBase {
        /// Which.
        origin: String,
        /// The missing tensor.
        tensor: &'static str,
    },
    /// Weights without the description that our files carry.
    #[error(
        "{origin} holds weights but no `fewstep` entry in its metadata, so it is not known what network they belong to and how it must be sampled"
    )]
    NoDescription {
        /// Which.
        origin: String,
    },
    /// A description that cannot be understood.
    #[error(
        "{origin} describes a model that this version cannot build: {}",
        plain(reason)
    )]
    BadDescription {
        /// Which.
        origin: String,
        /// What is wrong.
        reason: String,
    },
    /// A LoRA that cannot be added to a model.
    #[error("the LoRA {origin} cannot be used: {}", plain(reason))]
    Lora {
        /// Which.
        origin: String,
        /// Why.
        reason: String,
    },
    /// A student of which no LoRA can be made.
    #[error("no LoRA can be made of the difference: {reason}")]
    Extract {
        /// Why.
        reason: String,
    },
    /// A textual inversion that cannot be used with a model.
    #[error("the embedding {origin} cannot be used: {}", plain(reason))]
    Embedding {
        /// Which.
        origin: String,
        /// Why.
        reason: String,
    },
    /// Weights that do not fit the described network.
    #[error(
        "the weights in {origin} do not fit the network they describe: {}",
        list(problems)
    )]
    Mismatch {
        /// Which.
        origin: String,
        /// One line per tensor.
        problems: Vec<String>,
    },
    /// A ControlNet for another base.
    #[error("the ControlNet does not fit this base: {0}")]
    ControlNet(String),
    /// A base whose ControlNet is not there.
    #[error(
        "{origin} is one part of a model with a ControlNet, which is missing: give the whole model folder, with controlnet/ in it"
    )]
    NoControlNet {
        /// Which.
        origin: String,
    },
    /// A folder without a model in it.
    #[error("{path} holds no model: expected {expected}")]
    NoModel {
        /// Which.
        path: PathBuf,
        /// What would have been one.
        expected: &'static str,
    },
}

/// How many problems with weights are shown; the rest is counted.
pub(crate) const SHOWN_PROBLEMS: usize = 8;

fn list(problems: &[String]) -> String {
    let shown = problems.len().min(SHOWN_PROBLEMS);
    let mut text = plain(&problems[..shown].join("; "));
    if problems.len() > shown {
        text.push_str(&format!("; and {} more", problems.len() - shown));
    }
    text
}

/// What helps where a file is damaged: a checkpoint has no other copy, but there may be an older
/// one.
fn instead_of(origin: &str) -> &'static str {
    let mut folders = Path::new(origin).components();
    match folders.any(|folder| folder.as_os_str() == "checkpoints") {
        true => {
            "it is part of a checkpoint, so remove the checkpoint's folder; the run can then be resumed from the one before it, or be started again"
        }
        false => match Path::new(origin).extension() {
            Some(ending) if !ending.eq_ignore_ascii_case("safetensors") => {
                "expected a model folder, or a .safetensors file"
            }
            _ => "copy or download it again",
        },
    }
}
