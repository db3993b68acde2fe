//! Where shards are kept.

use crate::error::{CliError, CliResult, IntoCliResult};
use crate::output;
use std::fmt;
use std::path::{Path, PathBuf};

/// A folder of this machine, or one that machines share, with files by their names.
pub(crate) struct Storage(PathBuf);

impl Storage {
    /// The place of this name.
    pub(crate) fn open(place: &Path) -> CliResult<Self> {
        let text = place.to_string_lossy();
        match text.split_once("://") {
            None => Ok(Self(place.into())),
            Some((scheme, _)) => Err(CliError::input(format!(
                "{text}: shards are kept in folders, and `{scheme}://` is none: give the path of a folder that the machines share"
            ))),
        }
    }

    /// Its path.
    pub(crate) fn folder(&self) -> &Path {
        &self.0
    }

    /// Writes a file whole or not at all.
    pub(crate) fn put(&self, name: &str, bytes: &[u8]) -> CliResult {
        output::write(&self.folder().join(name), bytes)
    }

    /// The bytes of a file.
    pub(crate) fn get(&self, name: &str) -> CliResult<Vec<u8>> {
        fewstep_formats::read_file(&self.folder().join(name)).input_error()
    }

    /// The names of all files that start and end like this, in order.
    pub(crate) fn list(&self, start: &str, ending: &str) -> CliResult<Vec<String>> {
        let folder = self.folder();
        let entries = std::fs::read_dir(folder).map_err(|error| {
            CliError::input(format!("cannot list {}: {error}", folder.display()))
        })?;
        let names = entries.flatten().map(|entry| entry.file_name());
        let names = names.filter_map(|name| name.into_string().ok());
        let mut names: Vec<String> = names
            .filter(|name| name.starts_with(start) && name.ends_with(ending))
            .collect();
        names.sort();
        Ok(names)
    }

    /// A file of this place, in messages.
    pub(crate) fn shown(&self, name: &str) -> String {
        self.folder().join(name).display().to_string()
    }
}

impl fmt::Display for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.folder().display().fmt(f)
    }
}
