//! The models of a run.

use super::{Candidate, Choice, RegistryError};
use fewstep_diffusion::Role;
use fewstep_formats::{WEIGHTS_FILE, read_recipe};
use std::path::{Path, PathBuf};

/// In a run folder, the model for the number of steps, or the nearest; else the path itself.
pub(super) fn find(
    path: &Path,
    steps: Option<usize>,
) -> Result<(PathBuf, Option<Choice>), RegistryError> {
    let models = path.join("models");
    if !models.is_dir() {
        return Ok((path.into(), None));
    }
    let mut found = folders(&models)?;
    let mut candidates = vec![];
    for folder in &found {
        let name = folder.file_name().unwrap_or_default();
        candidates.push(Candidate {
            name: name.to_string_lossy().into_owned(),
            steps: match read_recipe(folder)?.role {
                Role::Student { steps, .. } => steps,
                Role::Teacher => None,
            },
        });
    }
    match Choice::of(candidates, steps) {
        Some((index, choice)) => Ok((found.swap_remove(index), Some(choice))),
        None => Err(RegistryError::NoModelYet { folder: models }),
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
