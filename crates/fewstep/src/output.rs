//! Files that a command writes.

use crate::error::{CliError, CliResult};
use fewstep_data::image::{self, Image, encode_png};
use fewstep_formats::write_atomically;
use std::path::{Path, PathBuf};

/// Makes the folder of a file. Called before the work starts, so that a bad path does not cost
/// hours.
pub(crate) fn prepare(file: &Path) -> CliResult {
    let folder = file.parent().unwrap_or(Path::new(""));
    if folder.as_os_str().is_empty() {
        return Ok(());
    }
    std::fs::create_dir_all(folder).map_err(|error| {
        let folder = folder.display();
        CliError::input(format!(
            "cannot make the folder {folder} ({error}): choose another place for {}",
            file.display()
        ))
    })
}

/// Writes a file whole or not at all.
pub(crate) fn write(file: &Path, bytes: &[u8]) -> CliResult {
    write_atomically(file, bytes).map_err(|error| {
        CliError::input(format!("{error}. Free some space or choose another place"))
    })
}

/// Writes an image as PNG.
pub(crate) fn write_image(file: &Path, image: &Image) -> CliResult {
    write_png(file, image, None)
}

/// Writes an image as PNG, with a text in it that says how it was made.
pub(crate) fn write_png(file: &Path, image: &Image, parameters: Option<String>) -> CliResult {
    let mut bytes = encode_png(image).map_err(CliError::input)?;
    if let Some(parameters) = parameters {
        bytes = image::with_parameters(&bytes, &parameters);
    }
    write(file, &bytes)
}

/// The folder for files that can be made again: `$XDG_CACHE_HOME/fewstep`, by default
/// `~/.cache/fewstep`.
pub(crate) fn cache_folder() -> Option<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|p| p.is_absolute());
    let base = base.or_else(|| Some(std::env::home_dir()?.join(".cache")));
    base.map(|base| base.join("fewstep"))
}
