//! From what a user writes after `--model` to a model.

use crate::compute;
use crate::failure::{Blame, CliError, CliResult};
use crate::hub;
use burn::tensor::Device;
use fewstep_data::expand_home;
use fewstep_diffusion::{Role, SamplerRecipe};
use fewstep_formats::{ControlNetModel, Model, Pipeline, Wanted};
use std::path::{Path, PathBuf};

/// Loads a model folder, a safetensors file, or, from a run folder, the model that suits the number of steps.
pub(crate) fn load(reference: &str, steps: Option<usize>, device: &Device) -> CliResult<Model> {
    let model = match reference.strip_prefix("builtin:") {
        Some(name) => crate::builtin::load(name, steps, device)?,
        None => Model::load(&find(reference, steps)?, device).blame_input()?,
    };
    Ok(compute::as_chosen(model))
}

/// The same with the ControlNet of another model folder, where one is given.
pub(crate) fn load_adapted(
    reference: &str,
    controlnet: Option<&Path>,
    steps: Option<usize>,
    device: &Device,
) -> CliResult<Model> {
    with_controlnet(load(reference, steps, device)?, controlnet, device)
}

fn with_controlnet(model: Model, controlnet: Option<&Path>, device: &Device) -> CliResult<Model> {
    match controlnet {
        None => Ok(model),
        Some(folder) => {
            let controlnet = ControlNetModel::load(folder, device).blame_input()?;
            model.with_controlnet(controlnet).blame_input()
        }
    }
}

/// Loads a latent diffusion model as [`load_latent`] does, with the ControlNet of another model folder, where one is given.
pub(crate) fn load_latent_adapted(
    reference: &str,
    controlnet: Option<&Path>,
    steps: Option<usize>,
    device: &Device,
) -> CliResult<Option<Pipeline>> {
    let Some(pipeline) = load_latent(reference, steps, device)? else {
        return Ok(None);
    };
    let model = with_controlnet(pipeline.model, controlnet, device)?;
    Ok(Some(Pipeline { model, ..pipeline }))
}

/// Loads a latent diffusion model with all its parts, where the reference is the folder of one, or of a run of such.
pub(crate) fn load_latent(
    reference: &str,
    steps: Option<usize>,
    device: &Device,
) -> CliResult<Option<Pipeline>> {
    match latent_folder(reference, steps)? {
        Some(folder) => load_pipeline(&folder, device).map(Some),
        None => Ok(None),
    }
}

/// Loads the latent diffusion model of a folder with all its parts.
pub(crate) fn load_pipeline(folder: &Path, device: &Device) -> CliResult<Pipeline> {
    let pipeline = Pipeline::load(folder, device).blame_input()?;
    Ok(compute::pipeline_as_chosen(pipeline))
}

/// The folder of a latent diffusion model, where the reference leads to one.
pub(crate) fn latent_folder(reference: &str, steps: Option<usize>) -> CliResult<Option<PathBuf>> {
    if reference.starts_with("builtin:") {
        return Ok(None);
    }
    let folder = find(reference, steps)?;
    Ok(Pipeline::is_in(&folder).then_some(folder))
}

/// A model folder or file: the reference itself; in a run, the model that suits the number of steps; and for a name on
/// the hub, its folder in the hub's cache.
pub(crate) fn find(reference: &str, steps: Option<usize>) -> CliResult<PathBuf> {
    if let Some(name) = hub::Name::parse(reference) {
        return hub::fetch(&name, Wanted::Model);
    }
    let path = Path::new(reference);
    let models = path.join("models");
    if !models.is_dir() {
        return Ok(path.into());
    }
    let mut found = folders(&models)?;
    let mut trained = vec![];
    for folder in &found {
        let text = std::fs::read_to_string(folder.join("fewstep.json")).blame_input()?;
        let recipe: SamplerRecipe = serde_json::from_str(&text).blame_input()?;
        trained.push(match recipe.role {
            Role::Student { steps, .. } => steps,
            Role::Teacher => None,
        });
    }
    match suited(trained.iter().copied(), steps) {
        Some(index) => Ok(found.swap_remove(index)),
        None => Err(CliError::input(format!(
            "{} holds no model yet: let the run finish its first phase",
            models.display()
        ))),
    }
}

/// The folder of a part of a model, or of a model that has it; for a name on the hub, in the hub's cache.
pub(crate) fn find_part(reference: &Path, part: Wanted) -> CliResult<PathBuf> {
    match hub::Name::parse(&reference.to_string_lossy()) {
        Some(name) => hub::fetch(&name, part),
        None => Ok(expand_home(reference)),
    }
}

/// Which of several models suits the number of steps best, given what each was trained for (`None`: any number):
/// the nearest by ratio, of two equally near ones that for more steps; one for any number when more steps are
/// asked for than any other was trained for. Without a number, the one for the fewest steps.
pub(crate) fn suited(
    trained: impl Iterator<Item = Option<usize>> + Clone,
    steps: Option<usize>,
) -> Option<usize> {
    let most = trained.clone().flatten().max();
    let any = trained.clone().position(|steps| steps.is_none());
    if steps.is_some() && steps > most && any.is_some() {
        return any;
    }
    let wanted = steps.unwrap_or(1) as f64;
    let distance = |trained: usize| (trained as f64 / wanted).log2().abs();
    trained
        .enumerate()
        .filter_map(|(index, trained)| trained.map(|trained| (index, trained)))
        .min_by(|(_, a), (_, b)| distance(*a).total_cmp(&distance(*b)).then(b.cmp(a)))
        .map(|(index, _)| index)
        .or(any)
}

/// Model folders of a run, sorted by name.
pub(crate) fn folders(models: &Path) -> CliResult<Vec<PathBuf>> {
    let mut folders: Vec<PathBuf> = std::fs::read_dir(models)
        .blame_input()?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.join(fewstep_formats::WEIGHTS_FILE).is_file())
        .collect();
    folders.sort();
    Ok(folders)
}

#[cfg(test)]
mod tests {
    use super::suited;

    #[test]
    fn the_nearest_number_of_steps_suits_best() {
        let family = [None, Some(8), Some(4), Some(2), Some(1)];
        let choice = |steps| suited(family.iter().copied(), steps).map(|index| family[index]);
        for (asked, expected) in [
            (None, Some(1)),
            (Some(1), Some(1)),
            (Some(2), Some(2)),
            (Some(3), Some(4)),
            (Some(5), Some(4)),
            (Some(6), Some(8)),
            (Some(8), Some(8)),
            (Some(16), None),
        ] {
            assert_eq!(choice(asked), Some(expected), "{asked:?} steps");
        }
        let without_any = |steps| suited(family[1..].iter().copied(), steps);
        assert_eq!(without_any(Some(16)), Some(0), "16 steps");
        assert_eq!(suited([None].into_iter(), Some(4)), Some(0));
        assert_eq!(suited([].into_iter(), Some(4)), None);
    }
}
