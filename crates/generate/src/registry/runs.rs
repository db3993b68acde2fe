//! The models of a run.

use super::RegistryError;
use fewstep_diffusion::{Role, SamplerRecipe};
use fewstep_formats::WEIGHTS_FILE;
use std::path::{Path, PathBuf};

/// The models in a run folder, each with the number of steps that it was distilled for; else the
/// path itself.
pub(super) fn models(path: &Path) -> Result<Vec<(Option<usize>, PathBuf)>, RegistryError> {
    let models = path.join("models");
    if !models.is_dir() {
        return Ok(vec![(None, path.into())]);
    }
    let trained = |folder: PathBuf| {
        let steps = match recipe(&folder)?.role {
            Role::Student { steps, .. } => steps,
            Role::Teacher => None,
        };
        Ok((steps, folder))
    };
    let found: Vec<_> = folders(&models)?
        .into_iter()
        .map(trained)
        .collect::<Result<_, RegistryError>>()?;
    match found.is_empty() {
        false => Ok(found),
        true => Err(RegistryError::NoModelYet { folder: models }),
    }
}

fn recipe(folder: &Path) -> Result<SamplerRecipe, RegistryError> {
    let path = folder.join("fewstep.json");
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            serde_json::from_str(&text).map_err(|source| RegistryError::Recipe { path, source })
        }
        Err(source) => Err(RegistryError::Io { path, source }),
    }
}

/// The model folders in the folder of models of a run, sorted by name.
///
/// # Errors
/// When it cannot be read.
pub fn folders(models: &Path) -> Result<Vec<PathBuf>, RegistryError> {
    let entries = std::fs::read_dir(models).map_err(|source| RegistryError::Io {
        path: models.into(),
        source,
    })?;
    let mut folders: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.join(WEIGHTS_FILE).is_file())
        .collect();
    folders.sort();
    Ok(folders)
}
