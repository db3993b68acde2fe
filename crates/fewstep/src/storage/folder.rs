//! Files in a folder.

use super::Files;
use crate::error::{CliError, CliResult, IntoCliResult};
use crate::output;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// A folder, which need not be there before something is written.
pub(super) struct Folder(pub(super) PathBuf);

impl Files for Folder {
    fn put(&self, name: &str, bytes: Vec<u8>) -> CliResult {
        output::write(&self.0.join(name), &bytes)
    }

    fn put_file(&self, name: &str, file: &Path) -> CliResult {
        let to = self.0.join(name);
        output::written(&to, fewstep_formats::copy_atomically(file, &to))
    }

    fn find(&self, name: &str) -> CliResult<Option<Vec<u8>>> {
        let file = self.0.join(name);
        match file.metadata() {
            Err(error) if is_absent(&error) => Ok(None),
            _ => fewstep_formats::read_file(&file).input_error().map(Some),
        }
    }

    fn fetch(&self, name: &str, to: &Path) -> CliResult<bool> {
        let file = self.0.join(name);
        match file.metadata() {
            Err(error) if is_absent(&error) => Ok(false),
            _ => {
                output::written(to, fewstep_formats::copy_atomically(&file, to))?;
                Ok(true)
            }
        }
    }

    fn list(&self, start: &str, ending: &str) -> CliResult<Vec<String>> {
        let entries = std::fs::read_dir(&self.0).map_err(|error| {
            CliError::input(format!("cannot list {}: {error}", self.0.display()))
        })?;
        let names = entries.flatten().map(|entry| entry.file_name());
        let names = names.filter_map(|name| name.into_string().ok());
        Ok(names
            .filter(|name| name.starts_with(start) && name.ends_with(ending))
            .collect())
    }

    fn remove(&self, name: &str) -> CliResult {
        let file = self.0.join(name);
        match std::fs::remove_file(&file) {
            Err(error) if !is_absent(&error) => Err(CliError::input(format!(
                "cannot remove {}: {error}",
                file.display()
            ))),
            _ => Ok(()),
        }
    }

    fn identity(&self) -> String {
        let folder = self.0.canonicalize();
        let folder = folder.or_else(|_| std::path::absolute(&self.0));
        folder
            .unwrap_or_else(|_| self.0.clone())
            .display()
            .to_string()
    }

    fn folder(&self) -> Option<&Path> {
        Some(&self.0)
    }
}

fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}
