//! The files of a repository that a latent diffusion model, or a part of one, is read from.

use super::files::inside;
use crate::FormatError;
use crate::controlnet::CONTROLNET_FILE;
use crate::diffusers::index;
use crate::diffusers::part::Part;
use crate::diffusers::weights::{self, Location};
use crate::tensors::named_precision::{CONFIG, ORIGINAL};
use std::path::{Component, Path};

/// What a repository is read for. A part may be one of a whole model, or the only one in its
/// repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepositoryKind {
    /// A latent diffusion model in diffusers' folder layout.
    Model,
    /// An autoencoder.
    Autoencoder,
    /// A text encoder and its tokenizer.
    TextEncoder,
}

/// Files of a repository: configurations, tokenizer, a ControlNet where there is one, and one
/// variant of the weights.
#[derive(Debug, Default)]
pub struct RepositoryFiles {
    /// Files that are needed as they are.
    pub files: Vec<String>,
    /// Indices, which are needed with the files next to them that they name (see
    /// [`RepositoryFiles::shards`]).
    pub indices: Vec<String>,
}

/// Files of a tokenizer that share a folder with others.
const TOKENIZER: [&str; 6] = [
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
];

impl RepositoryKind {
    /// The parts with weights; a model may have a second text encoder.
    fn parts(self, two_texts: bool) -> &'static [Part] {
        match self {
            Self::Model if two_texts => Part::WITH_TWO_TEXTS,
            Self::Model => Part::WITH_TEXT,
            Self::Autoencoder => &[Part::Autoencoder],
            Self::TextEncoder => &[Part::TextEncoder],
        }
    }

    /// The files by which a repository is recognised: one for each layout of it.
    pub fn marker_files(self) -> &'static [&'static str] {
        match self {
            Self::Model => &[index::FILE],
            Self::Autoencoder => &["vae/config.json", "config.json"],
            Self::TextEncoder => &["text_encoder/config.json", "config.json"],
        }
    }

    /// The files that are needed, among those of a repository; `origin` is what to call it.
    ///
    /// # Errors
    /// When the repository does not hold them, or not as safetensors.
    pub fn required_files(
        self,
        names: &[String],
        origin: &str,
    ) -> Result<RepositoryFiles, FormatError> {
        let exists = |name: &str| names.iter().any(|known| known == name);
        let model = exists(index::FILE);
        let parts = self.parts(exists("text_encoder_2/config.json"));
        if !model && self == Self::Model {
            return Err(FormatError::NoModel {
                path: origin.into(),
                expected: "a latent diffusion model in diffusers' folder layout, which has a model_index.json",
            });
        }
        let needed = |name: &&String| match name.split_once('/') {
            None if model => {
                self == Self::Model && [index::FILE, "fewstep.json"].contains(&name.as_str())
            }
            None => {
                name.as_str() == "config.json"
                    || self == Self::TextEncoder && TOKENIZER.contains(&name.as_str())
            }
            Some(_) if !model => false,
            Some(("tokenizer" | "tokenizer_2", file)) => {
                self != Self::Autoencoder && (file.ends_with(".json") || file.ends_with(".txt"))
            }
            Some(("scheduler", file)) => self == Self::Model && file == "scheduler_config.json",
            Some(("controlnet", _)) => self == Self::Model && name.as_str() == CONTROLNET_FILE,
            Some((folder, file)) => {
                [CONFIG, ORIGINAL].contains(&file)
                    && parts.iter().any(|part| part.folder() == folder)
            }
        };
        // What leads elsewhere is no file of a repository.
        let inside = |name: &&String| {
            let mut parts = Path::new(name).components();
            parts.all(|part| matches!(part, Component::Normal(_)))
        };
        let mut chosen = RepositoryFiles {
            files: names
                .iter()
                .filter(inside)
                .filter(needed)
                .cloned()
                .collect(),
            indices: vec![],
        };
        for &part in parts {
            let inside = |name: &str| match model {
                true => format!("{}/{name}", part.folder()),
                false => name.into(),
            };
            match weights::locate(part, |name| exists(&inside(name)))
                .map_err(|missing| missing.error(Path::new(origin)))?
            {
                Location::Whole(file) => chosen.files.push(inside(&file)),
                Location::Sharded(index) => chosen.indices.push(inside(&index)),
            }
        }
        Ok(chosen)
    }

    /// Whether a folder has all the weights that are needed.
    pub fn is_complete_in(self, folder: &Path) -> bool {
        let marked = self
            .marker_files()
            .iter()
            .any(|mark| folder.join(mark).is_file());
        let whole = |part: &Part| {
            let folder = match self {
                Self::Model => folder.join(part.folder()),
                _ => inside(folder, part.folder()),
            };
            weights::files(&folder, *part).is_ok()
        };
        let parts = self.parts(index::has_two_encoders(folder));
        marked && parts.iter().all(whole)
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
