//! What of a repository a latent diffusion model, or a part of one, is read from.

use super::weights::{self, Part, Place};
use crate::{CONTROLNET_FILE, FormatError};
use std::path::{Path, PathBuf};

/// What is wanted of a repository. Parts may be those of a whole model, or lie alone at the top of their repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A latent diffusion model in diffusers' folder layout.
    Model,
    /// An autoencoder.
    Autoencoder,
    /// A text encoder and its tokenizer.
    TextEncoder,
}

/// Files of a repository: configurations, tokenizer, a ControlNet where there is one, and one variant of the weights.
#[derive(Debug, Default)]
pub struct RepositoryFiles {
    /// Files that are needed as they are.
    pub files: Vec<String>,
    /// Indices, which are needed with the files beside them that they name (see [`RepositoryFiles::shards`]).
    pub indices: Vec<String>,
}

/// Files of a tokenizer that lie beside other things.
const TOKENIZER: [&str; 6] = [
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
];

impl Wanted {
    fn parts(self) -> &'static [Part] {
        match self {
            Self::Model => &Part::OF_TEXTS,
            Self::Autoencoder => &[Part::Autoencoder],
            Self::TextEncoder => &[Part::TextEncoder],
        }
    }

    /// A file that repositories with it have, of several kinds of repositories one each.
    pub fn marks(self) -> &'static [&'static str] {
        match self {
            Self::Model => &["model_index.json"],
            Self::Autoencoder => &["vae/config.json", "config.json"],
            Self::TextEncoder => &["text_encoder/config.json", "config.json"],
        }
    }

    /// Chooses among the files of a repository; `origin` is what to call it.
    ///
    /// # Errors
    /// When it does not hold what is wanted, or not as safetensors.
    pub fn among(self, names: &[String], origin: &str) -> Result<RepositoryFiles, FormatError> {
        let there = |name: &str| names.iter().any(|known| known == name);
        let refuse = |expected| FormatError::NoModel {
            path: origin.into(),
            expected,
        };
        let model = there("model_index.json");
        if !model && self == Self::Model {
            return Err(refuse(
                "a latent diffusion model in diffusers' folder layout, which has a model_index.json",
            ));
        }
        let needed = |name: &&String| match name.split_once('/') {
            None if model => {
                self == Self::Model && ["model_index.json", "fewstep.json"].contains(&name.as_str())
            }
            None => {
                name.as_str() == "config.json"
                    || self == Self::TextEncoder && TOKENIZER.contains(&name.as_str())
            }
            Some(_) if !model => false,
            Some(("tokenizer", file)) => {
                self != Self::Autoencoder && (file.ends_with(".json") || file.ends_with(".txt"))
            }
            Some(("scheduler", file)) => self == Self::Model && file == "scheduler_config.json",
            Some(("controlnet", _)) => self == Self::Model && name.as_str() == CONTROLNET_FILE,
            Some((folder, file)) => {
                file == "config.json" && self.parts().iter().any(|part| part.folder() == folder)
            }
        };
        let mut chosen = RepositoryFiles {
            files: names.iter().filter(needed).cloned().collect(),
            indices: vec![],
        };
        for &part in self.parts() {
            let inside = |name: &str| match model {
                true => format!("{}/{name}", part.folder()),
                false => name.into(),
            };
            match weights::place(part, |name| there(&inside(name))).map_err(refuse)? {
                Place::Whole(file) => chosen.files.push(inside(&file)),
                Place::Sharded(index) => chosen.indices.push(inside(&index)),
            }
        }
        Ok(chosen)
    }

    /// Whether a folder has the weights of all that is wanted.
    pub fn is_whole_in(self, folder: &Path) -> bool {
        let marked = self.marks().iter().any(|mark| folder.join(mark).is_file());
        let whole = |part: &Part| {
            let folder = match self {
                Self::Model => folder.join(part.folder()),
                _ => inside(folder, part.folder()),
            };
            weights::files(&folder, *part).is_ok()
        };
        marked && self.parts().iter().all(whole)
    }
}

impl RepositoryFiles {
    /// The names that an index, read from `file`, has in its repository.
    ///
    /// # Errors
    /// When the index cannot be read, or names files elsewhere.
    pub fn shards(index: &str, file: &Path) -> Result<Vec<String>, FormatError> {
        let concat = |name: &str| match index.rsplit_once('/') {
            Some((folder, _)) => format!("{folder}/{name}"),
            None => name.into(),
        };
        let names = weights::shard_names(file)?;
        Ok(names.iter().map(|name| concat(name)).collect())
    }
}

/// The folder of this name within a model; or the folder itself, where it has none, and so is the part alone.
pub(super) fn inside(folder: &Path, part: &str) -> PathBuf {
    let within = folder.join(part);
    match within.is_dir() {
        true => within,
        false => folder.into(),
    }
}
