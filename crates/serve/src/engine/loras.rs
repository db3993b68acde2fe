//! The LoRA that requests may name: files of one folder.

use crate::error::ApiError;
use fewstep_generate::LoraChoice;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// A LoRA that a request names, and how many times it is added.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NamedLora {
    pub(crate) name: String,
    pub(crate) weight: f64,
}

/// The LoRA that requests may name: the safetensors files of a folder, by their names without the
/// ending. A name of a request is only compared with them, so that it is never a path.
pub(crate) struct LoraFolder {
    folder: Option<PathBuf>,
    files: Mutex<BTreeMap<String, PathBuf>>,
}

impl LoraFolder {
    pub(super) fn new(folder: Option<&Path>) -> Self {
        let made = Self {
            folder: folder.map(Path::to_path_buf),
            files: Mutex::default(),
        };
        made.refresh();
        made
    }

    /// Looks into the folder again.
    pub(crate) fn refresh(&self) {
        let Some(folder) = &self.folder else {
            return;
        };
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => {
                tracing::warn!(%error, "the folder of LoRA cannot be read");
                return;
            }
        };
        let paths = entries.flatten().map(|entry| entry.path());
        let paths = paths.filter(|path| path.extension().is_some_and(|e| e == "safetensors"));
        let named = paths.filter_map(|path| Some((path.file_stem()?.to_str()?.to_owned(), path)));
        let files = named.collect();
        *self.files.lock().unwrap_or_else(PoisonError::into_inner) = files;
    }

    /// The names.
    pub(crate) fn names(&self) -> Vec<String> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.keys().cloned().collect()
    }

    /// The files of LoRA that a request names. One that is new is looked for.
    pub(crate) fn choices(&self, named: &[NamedLora]) -> Result<Vec<LoraChoice>, ApiError> {
        let find = |name: &str| {
            let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
            files.get(name).cloned()
        };
        let choice = |lora: &NamedLora| {
            let found = find(&lora.name).or_else(|| {
                self.refresh();
                find(&lora.name)
            });
            match found {
                Some(file) => Ok(LoraChoice {
                    file,
                    weight: lora.weight,
                }),
                None => Err(self.unknown(&lora.name)),
            }
        };
        named.iter().map(choice).collect()
    }

    fn unknown(&self, name: &str) -> ApiError {
        let names = self.names();
        let has = match (&self.folder, names.is_empty()) {
            (None, _) => "it was started without a folder of LoRA".into(),
            (Some(_), true) => "its folder of LoRA is empty".into(),
            (Some(_), false) => format!("it has: {}", names.join(", ")),
        };
        ApiError {
            field: Some("loras".into()),
            ..ApiError::not_found(format!("this server has no LoRA `{name}`; {has}"))
        }
    }
}
