//! Paths of models that are not there.

use super::RegistryError;
use fewstep_formats::{Layout, WeightsFile};
use std::io::ErrorKind;
use std::path::Path;

/// Refuses a path that does not exist: says from where on, and what there is instead.
pub(super) fn check(path: &Path) -> Result<(), RegistryError> {
    if path.as_os_str().is_empty() {
        return Err(RegistryError::NoName);
    }
    match path.symlink_metadata() {
        // Standard input.
        _ if path == Path::new("-") => return Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        // What cannot be read otherwise is said when it is read.
        _ => return Ok(()),
    }
    let exists = |folder: &&Path| folder.as_os_str().is_empty() || folder.exists();
    let folder = path.ancestors().find(exists).unwrap_or(path);
    let missing = path.strip_prefix(folder).unwrap_or(path).iter().next();
    let missing = missing.unwrap_or_default().to_string_lossy().into_owned();
    let place = match folder.as_os_str().is_empty() {
        true => Path::new("."),
        false => folder,
    };
    Err(RegistryError::NoPath {
        path: path.into(),
        nearest: nearest(place, &missing),
        folder: place.into(),
        missing,
    })
}

/// Refuses a file of other tools, which is no model by itself.
pub(super) fn check_file(path: &Path) -> Result<(), RegistryError> {
    if !path.is_file() {
        return Ok(());
    }
    if path.extension().is_some_and(|ending| ending == "toml") {
        return Err(RegistryError::Recipe(path.into()));
    }
    // What else is wrong is said when it is read.
    let Ok(file) = WeightsFile::inspect(path) else {
        return Ok(());
    };
    let what = match file.layout {
        Layout::SingleFile => "a whole latent diffusion model in one file",
        Layout::UNet => "only a U-Net, for other tools",
        // A checkpoint of ours has a LoRA next to its base.
        Layout::Lora if !file.entries.contains_key("fewstep") => "only a LoRA",
        Layout::Embedding => "only a textual inversion",
        Layout::Lora | Layout::DiffusersPart | Layout::Pickle | Layout::Other => return Ok(()),
    };
    Err(RegistryError::OtherFile {
        path: path.into(),
        what,
    })
}

/// The name in a folder that is nearest to this one, if there is one like it.
fn nearest(folder: &Path, name: &str) -> Option<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.collect();
    names.sort();
    fewstep_formats::nearest(name, names.iter().map(String::as_str)).map(String::from)
}
