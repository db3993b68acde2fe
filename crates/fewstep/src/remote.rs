//! The files of a set in object storage.

use crate::error::{CliError, CliResult, IntoCliResult};
use crate::storage::Storage;
use fewstep_data::{DataConfig, StoredFile, is_archive};
use std::path::Path;
use tempfile::TempDir;

/// What an address names: all files below it, or one file.
pub(crate) struct RemoteFiles {
    storage: Storage,
    files: Vec<StoredFile>,
    /// Whether the address is that of one file.
    is_file: bool,
}

impl RemoteFiles {
    /// Lists the files.
    ///
    /// # Errors
    /// When there are none, or the store cannot be asked.
    pub(crate) fn list(address: &Path) -> CliResult<Self> {
        let address = address.to_string_lossy();
        let address = address.trim_end_matches('/');
        // One file is found in what it is in.
        let (place, archive) = match address.rsplit_once('/') {
            Some((place, file)) if is_archive(file) => (place, Some(file)),
            _ => (address, None),
        };
        let storage = Storage::open(Path::new(place))?;
        let mut files = storage.list_below()?;
        files.retain(|file| archive.is_none_or(|archive| file.name == archive));
        match files.is_empty() {
            true => Err(CliError::input(format!("there is nothing in {address}"))),
            false => Ok(Self {
                storage,
                files,
                is_file: archive.is_some(),
            }),
        }
    }

    /// All of them.
    pub(crate) fn files(&self) -> &[StoredFile] {
        &self.files
    }

    /// Copies some of them into a folder, under their names.
    pub(crate) fn fetch(&self, files: &[StoredFile], folder: &Path) -> CliResult {
        let names = files.iter().map(|file| file.name.clone());
        let (archives, others): (Vec<String>, Vec<String>) =
            names.partition(|name| is_archive(name));
        // A large file goes to the disk as it arrives, and of small ones several are on their way.
        for name in archives {
            self.storage.fetch(&name, &folder.join(&name))?;
        }
        self.storage.get_all(&others, |index, bytes| {
            let file = folder.join(&others[index]);
            std::fs::create_dir_all(file.parent().unwrap_or(folder)).work_error()?;
            std::fs::write(file, bytes?).work_error()
        })
    }

    /// The address of a file, in messages.
    pub(crate) fn shown(&self, name: &str) -> String {
        self.storage.shown(name)
    }
}

/// A copy of a whole set on this machine, which lasts as long as the folder, and where it is.
///
/// # Errors
/// When there is no set, or it cannot be copied.
pub(crate) fn copied(config: &DataConfig) -> CliResult<(TempDir, DataConfig)> {
    let remote = RemoteFiles::list(&config.path)?;
    let folder = tempfile::tempdir().work_error()?;
    remote.fetch(remote.files(), folder.path())?;
    let path = match (remote.is_file, remote.files()) {
        (true, [file]) => folder.path().join(&file.name),
        _ => folder.path().into(),
    };
    let config = DataConfig {
        path,
        ..config.clone()
    };
    Ok((folder, config))
}
