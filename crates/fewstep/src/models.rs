//! From what a user writes after `--model` to a model.

use crate::failure::{Blame, Failure, Outcome};
use burn::tensor::Device;
use fewstep_diffusion::Role;
use fewstep_formats::{Model, Pipeline};
use std::path::{Path, PathBuf};

/// Loads a model folder, a safetensors file, or, from a run folder, the model that suits the number of steps.
pub(crate) fn load(reference: &str, steps: Option<usize>, device: &Device) -> Outcome<Model> {
    if let Some(name) = reference.strip_prefix("builtin:") {
        return crate::builtin::load(name, steps, device);
    }
    let path = Path::new(reference);
    let models = path.join("models");
    if !models.is_dir() {
        return Model::load(path, device).blame_input();
    }
    choose(&models, steps, device)
}

/// Loads a latent diffusion model with all its parts, where the reference is the folder of one.
pub(crate) fn load_latent(reference: &str, device: &Device) -> Outcome<Option<Pipeline>> {
    let path = Path::new(reference);
    match Pipeline::is_in(path) {
        true => Pipeline::load(path, device).map(Some).blame_input(),
        false => Ok(None),
    }
}

/// The model of a run: the one distilled for this number of steps, else the one for the fewest.
fn choose(models: &Path, steps: Option<usize>, device: &Device) -> Outcome<Model> {
    let mut loaded = vec![];
    for folder in folders(models)? {
        loaded.push(Model::load(&folder, device).blame_input()?);
    }
    let trained = |model: &Model| match model.recipe.role {
        Role::Student { steps, .. } => steps,
        Role::Teacher => None,
    };
    let exact = loaded
        .iter()
        .position(|model| trained(model).is_some() && trained(model) == steps);
    let fewest = loaded
        .iter()
        .enumerate()
        .min_by_key(|(_, model)| trained(model).unwrap_or(usize::MAX))
        .map(|(index, _)| index);
    match exact.or(fewest) {
        Some(index) => Ok(loaded.swap_remove(index)),
        None => Err(Failure::input(format!(
            "{} holds no model yet: let the run finish its first phase",
            models.display()
        ))),
    }
}

/// Model folders of a run, sorted by name.
pub(crate) fn folders(models: &Path) -> Outcome<Vec<PathBuf>> {
    let mut folders: Vec<PathBuf> = std::fs::read_dir(models)
        .blame_input()?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.join(fewstep_formats::WEIGHTS_FILE).is_file())
        .collect();
    folders.sort();
    Ok(folders)
}
