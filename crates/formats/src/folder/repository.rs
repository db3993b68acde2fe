//! What of a repository a latent diffusion model is read from.

use super::weights::{self, Part, Place};
use crate::{ADAPTER_FILE, FormatError, Pipeline};
use std::path::Path;

/// Files of a repository that hold a latent diffusion model: its configurations, its tokenizer, its adapter
/// where it has one, and one variant of its weights.
#[derive(Debug, Default)]
pub struct Wanted {
    /// Files that are needed as they are.
    pub files: Vec<String>,
    /// Indices, which are needed with the files beside them that they name (see [`Wanted::shards`]).
    pub indices: Vec<String>,
}

impl Wanted {
    /// Chooses among the files of a repository; `origin` is what to call it.
    ///
    /// # Errors
    /// When it holds no latent diffusion model in diffusers' layout, or one without safetensors.
    pub fn among(names: &[String], origin: &str) -> Result<Self, FormatError> {
        let there = |name: &str| names.iter().any(|known| known == name);
        let refuse = |expected| FormatError::NoModel {
            path: origin.into(),
            expected,
        };
        if !there("model_index.json") {
            return Err(refuse(
                "a latent diffusion model in diffusers' folder layout, which has a model_index.json",
            ));
        }
        let mut wanted = Self::default();
        let small = |name: &&String| match name.split_once('/') {
            None => ["model_index.json", "fewstep.json"].contains(&name.as_str()),
            Some(("tokenizer", file)) => file.ends_with(".json") || file.ends_with(".txt"),
            Some(("scheduler", file)) => file == "scheduler_config.json",
            Some(("controlnet", _)) => name.as_str() == ADAPTER_FILE,
            Some((part, file)) => {
                file == "config.json" && Part::OF_TEXTS.iter().any(|known| known.folder() == part)
            }
        };
        wanted.files.extend(names.iter().filter(small).cloned());
        for part in Part::OF_TEXTS {
            let inside = |name: &str| format!("{}/{name}", part.folder());
            match weights::place(part, |name| there(&inside(name))).map_err(refuse)? {
                Place::Whole(file) => wanted.files.push(inside(&file)),
                Place::Sharded(index) => wanted.indices.push(inside(&index)),
            }
        }
        Ok(wanted)
    }

    /// The names that an index, read from `file`, has in its repository.
    ///
    /// # Errors
    /// When the index cannot be read, or names files elsewhere.
    pub fn shards(index: &str, file: &Path) -> Result<Vec<String>, FormatError> {
        let folder = index.rsplit_once('/').map_or("", |(folder, _)| folder);
        let names = weights::shard_names(file)?.into_iter();
        Ok(names.map(|name| format!("{folder}/{name}")).collect())
    }
}

impl Pipeline {
    /// Whether a folder has the weights of all parts.
    pub fn is_whole(folder: &Path) -> bool {
        let whole = |part: &Part| weights::files(&folder.join(part.folder()), *part).is_ok();
        Self::is_in(folder) && Part::OF_TEXTS.iter().all(whole)
    }
}
