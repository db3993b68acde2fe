//! The models of a run.

use super::{Candidate, RegistryError};
use fewstep_diffusion::Role;
use fewstep_formats::{WEIGHTS_FILE, read_recipe};
use std::path::{Path, PathBuf};

/// The models in a run folder; none where the path is no run folder.
pub(super) fn models(path: &Path) -> Result<Option<Vec<(Candidate, PathBuf)>>, RegistryError> {
    let models = path.join("models");
    if !models.is_dir() {
        return Ok(None);
    }
    let candidate = |folder: PathBuf| {
        let name = folder.file_name().unwrap_or_default();
        let candidate = Candidate {
            name: name.to_string_lossy().into_owned(),
            steps: match read_recipe(&folder)?.role {
                Role::Student { steps, .. } => steps,
                Role::Teacher => None,
            },
        };
        Ok((candidate, folder))
    };
    let found = folders(&models)?.into_iter().map(candidate);
    let found: Vec<_> = found.collect::<Result<_, RegistryError>>()?;
    match found.is_empty() {
        false => Ok(Some(found)),
        true => Err(RegistryError::NoModelYet { folder: models }),
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
