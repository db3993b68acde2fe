//! Files that a command writes.

use crate::console;
use crate::error::{CliError, CliResult, is_full_disk};
use crate::storage::is_url;
use fewstep_data::image::{Image, ImageKind};
use fewstep_formats::{FormatError, is_standard_output, write_atomically};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Checks the place of a file. Called before the work starts, so that a bad path does not cost
/// hours. Missing folders are made when the file is written.
pub(crate) fn prepare(file: &Path) -> CliResult {
    if is_standard_output(file) {
        console::keep_output_for_a_file();
        return Ok(());
    }
    if is_url(file) {
        return Err(CliError::input(format!(
            "cannot write {} as one file: give the path of a file. Object storage takes the images of --out-dir, the shards of --shard and what `fewstep merge` copies",
            file.display()
        )));
    }
    let names_folder = file.as_os_str().to_string_lossy().ends_with(['/', '\\']);
    if file.is_dir() || names_folder {
        return Err(CliError::input(format!(
            "cannot write {}, which is a folder: choose another place",
            file.display()
        )));
    }
    let mut folders = file.ancestors().skip(1);
    match folders.find(|folder| folder.symlink_metadata().is_ok()) {
        Some(folder) if !folder.is_dir() => Err(CliError::input(format!(
            "cannot write {}, as {} is a file and no folder: choose another place",
            file.display(),
            folder.display()
        ))),
        _ => Ok(()),
    }
}

/// As [`prepare`], for an image, whose name must say what it is.
pub(crate) fn prepare_image(file: &Path) -> CliResult {
    kind(file)?;
    prepare(file)
}

/// Writes a file whole or not at all.
pub(crate) fn write(file: &Path, bytes: &[u8]) -> CliResult {
    written(file, write_atomically(file, bytes))
}

/// The result of writing a file. The program ends without an error if the reader of a pipe closed
/// it.
pub(crate) fn written(file: &Path, result: Result<(), FormatError>) -> CliResult {
    result.map_err(|error| match &error {
        FormatError::Write { source, .. }
            if source.kind() == ErrorKind::BrokenPipe && is_standard_output(file) =>
        {
            console::end_unread(source)
        }
        FormatError::Write { source, .. } => {
            let message = format!("{error}. Free some space or choose another place");
            match is_full_disk(source) {
                true => CliError::Work(anyhow::anyhow!(message)),
                false => CliError::input(message),
            }
        }
        _ => CliError::Input(error.into()),
    })
}

/// Writes an image as the kind of file that its name says.
pub(crate) fn write_image(file: &Path, image: &Image) -> CliResult {
    write_image_with(file, image, None)
}

/// Writes an image, with a text in it that says how it was made.
pub(crate) fn write_image_with(
    file: &Path,
    image: &Image,
    parameters: Option<String>,
) -> CliResult {
    write(file, &encoded(file, image, parameters)?)
}

/// An image as the kind of file that its name says, with a text in it that says how it was made.
pub(crate) fn encoded(
    file: &Path,
    image: &Image,
    parameters: Option<String>,
) -> CliResult<Vec<u8>> {
    let bytes = kind(file)?.encode(image, parameters.as_deref());
    bytes.map_err(CliError::input)
}

fn kind(file: &Path) -> CliResult<ImageKind> {
    ImageKind::of(file).ok_or_else(|| {
        CliError::input(format!(
            "{} does not end as an image that can be written: name it .png, .jpg or .webp",
            file.display()
        ))
    })
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
