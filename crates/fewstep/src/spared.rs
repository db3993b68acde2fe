//! What results are not written over: files and folders that a command reads, and other results.

use crate::error::{CliError, CliResult};
use fewstep_data::SKIP_LIST_HEAD;
use fewstep_data::image::ImageKind;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Refuses to write over a file that the command reads, by whatever path or link.
pub(crate) fn spare_inputs(file: &Path, inputs: &[&Path]) -> CliResult {
    match inputs.iter().find(|input| is_same_file(file, input)) {
        Some(input) => Err(CliError::input(format!(
            "writing {} would overwrite the input {}: choose another name for the result",
            file.display(),
            input.display()
        ))),
        None => Ok(()),
    }
}

/// Refuses to write over a file of a data set, which may be one file or a folder. Results in JSON
/// and lists of what is left out, which no set is read from, may be written again.
pub(crate) fn spare_set(file: &Path, set: &Path) -> CliResult {
    spare_inputs(file, &[set])?;
    match is_inside(file, set) && !is_json(file) && !is_list(file) {
        true => Err(of_folder(file, set)),
        false => Ok(()),
    }
}

/// Refuses to write over a file of a model or a run. Images and, next to the models of a run,
/// results in JSON may be written again.
pub(crate) fn spare_model(file: &Path, model: &Path) -> CliResult {
    spare_inputs(file, &[model])?;
    let is_result = ImageKind::of(file).is_some() || is_json(file) && !is_described(file, model);
    match is_inside(file, model) && !is_result {
        true => Err(of_folder(file, model)),
        false => Ok(()),
    }
}

/// Refuses two results that would be written to one file.
pub(crate) fn spare_results(results: &[PathBuf]) -> CliResult {
    let same = |a: &Path, b: &Path| is_same_file(a, b) || !a.exists() && place(a) == place(b);
    for (n, a) in results.iter().enumerate() {
        if let Some(b) = results[..n].iter().find(|b| same(a, b)) {
            return Err(CliError::input(format!(
                "{} and {} are one file, and two results would be written to it: choose two names",
                b.display(),
                a.display()
            )));
        }
    }
    Ok(())
}

fn of_folder(file: &Path, folder: &Path) -> CliError {
    CliError::input(format!(
        "{} is there already, in {}, which the command reads: choose another place for the result, or remove it first",
        file.display(),
        folder.display()
    ))
}

/// Whether it is a file, and one in this folder.
fn is_inside(file: &Path, folder: &Path) -> bool {
    let [file, folder] = [file, folder].map(|path| path.canonicalize().ok());
    file.zip(folder)
        .is_some_and(|(file, folder)| file.is_file() && folder.is_dir() && file.starts_with(folder))
}

fn is_json(file: &Path) -> bool {
    let ending = file.extension();
    ending.is_some_and(|ending| ending.eq_ignore_ascii_case("json"))
}

/// Whether it is as `data --list` writes it.
fn is_list(file: &Path) -> bool {
    let list = std::fs::File::open(file).and_then(|mut file| {
        let mut first = [0; SKIP_LIST_HEAD.len()];
        file.read_exact(&mut first)?;
        Ok(first == *SKIP_LIST_HEAD.as_bytes())
    });
    list.unwrap_or(false)
}

/// Whether one of the folders from that of the file up to this one is a part of a model.
fn is_described(file: &Path, folder: &Path) -> bool {
    let [file, folder] = [file, folder].map(|path| path.canonicalize().unwrap_or_default());
    let folders = file.ancestors().skip(1);
    let mut folders = folders.take_while(|inside| inside.starts_with(&folder));
    let described = ["model_index.json", "config.json"];
    folders.any(|folder| described.iter().any(|name| folder.join(name).is_file()))
}

/// Where a file is or will be.
fn place(file: &Path) -> Option<PathBuf> {
    let file = std::path::absolute(file).ok()?;
    let folder = file.parent()?.canonicalize().ok();
    match folder {
        Some(folder) => Some(folder.join(file.file_name()?)),
        None => Some(file),
    }
}

/// Whether two paths lead to one file.
fn is_same_file(a: &Path, b: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let identity = |path: &Path| {
            let metadata = path.metadata().ok().filter(|metadata| metadata.is_file());
            metadata.map(|metadata| (metadata.dev(), metadata.ino()))
        };
        identity(a).is_some_and(|a| identity(b) == Some(a))
    }
    #[cfg(not(unix))]
    {
        let identity = |path: &Path| path.canonicalize().ok().filter(|path| path.is_file());
        identity(a).is_some_and(|a| identity(b) == Some(a))
    }
}
