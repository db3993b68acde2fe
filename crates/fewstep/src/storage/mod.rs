//! Where sets and runs are kept that several machines share: a folder, or object storage.

mod folder;
#[cfg(feature = "storage")]
mod objects;
mod url;

use crate::error::{CliError, CliResult, IntoCliResult};
use fewstep_data::StoredFile;
use folder::Folder;
use std::fmt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
pub(crate) use url::is_url;
use url::{Location, locate};

/// The path of a place on this machine; none if it is in object storage.
///
/// # Errors
/// When it is a URL that cannot be used.
pub(crate) fn path_here(place: &Path) -> CliResult<Option<PathBuf>> {
    Ok(match locate(place)? {
        Location::Folder(path) => Some(path),
        Location::Objects(_) => None,
    })
}

/// Files by their names. A name may have folders in it, with `/` between them.
trait Files: Send {
    /// Writes a file whole or not at all.
    fn put(&self, name: &str, bytes: Vec<u8>) -> CliResult;

    /// Writes many files, each whole or not at all, and stops at the first that fails. The iterator
    /// itself uses no storage.
    fn put_all(&self, files: &mut dyn Iterator<Item = NamedBytes>) -> CliResult {
        for file in files {
            let (name, bytes) = file?;
            self.put(&name, bytes)?;
        }
        Ok(())
    }

    /// Copies a local file, whole or not at all.
    fn put_file(&self, name: &str, file: &Path) -> CliResult;

    /// The bytes of a file; none if there is no file of this name.
    fn find(&self, name: &str) -> CliResult<Option<Vec<u8>>>;

    /// The bytes of many files, in their order. `each` itself uses no storage.
    fn find_all(
        &self,
        names: &[String],
        each: &mut dyn FnMut(usize, Found) -> CliResult,
    ) -> CliResult {
        let mut names = names.iter().enumerate();
        names.try_for_each(|(index, name)| each(index, self.find(name)))
    }

    /// Copies a file to this machine, whole or not at all; false if there is no file of this name.
    fn fetch(&self, name: &str, to: &Path) -> CliResult<bool>;

    /// The names of all files, without those in folders, that start and end like this.
    fn list(&self, start: &str, ending: &str) -> CliResult<Vec<String>>;

    /// All files of a place in object storage, those in folders too. The files of a folder are read
    /// where they are, and none is listed.
    fn list_below(&self) -> CliResult<Vec<StoredFile>> {
        Ok(vec![])
    }

    /// Removes a file, if it is there.
    fn remove(&self, name: &str) -> CliResult;

    /// The same for two places only if they are one.
    fn identity(&self) -> String;

    /// The folder, where it is one of this machine.
    fn folder(&self) -> Option<&Path>;
}

/// A file to be written: its name and what is in it.
type NamedBytes = CliResult<(String, Vec<u8>)>;

/// What is in a file; none if it is not there.
type Found = CliResult<Option<Vec<u8>>>;

/// A folder of this machine, or one that machines share, or a place in object storage.
pub(crate) struct Storage {
    shown: String,
    files: Box<dyn Files>,
    /// Where files of it were copied to, until this is dropped.
    _copies: Option<TempDir>,
}

impl Storage {
    /// The place of this path or URL. Nothing is read yet.
    ///
    /// # Errors
    /// When it is a URL that cannot be used, or object storage and this program has no client for
    /// it.
    pub(crate) fn open(place: &Path) -> CliResult<Self> {
        let shown = place.display().to_string();
        let files: Box<dyn Files> = match locate(place)? {
            Location::Folder(folder) => Box::new(Folder(folder)),
            #[cfg(feature = "storage")]
            Location::Objects(url) => Box::new(objects::Objects::connect(&url)?),
            #[cfg(not(feature = "storage"))]
            Location::Objects(url) => {
                return Err(CliError::input(format!(
                    "{url}: this program was built without object storage: build it with `--features storage`, or give the path of a folder that the machines share"
                )));
            }
        };
        Ok(Self {
            shown,
            files,
            _copies: None,
        })
    }

    /// The same place, where files that start and end like this are read several times, and nothing
    /// else is. They are copied to this machine first, unless they are near or there are none.
    pub(crate) fn near(self, start: &str, ending: &str) -> CliResult<Self> {
        if self.folder().is_some() {
            return Ok(self);
        }
        let names = self.list(start, ending)?;
        if names.is_empty() {
            return Ok(self);
        }
        let copies = tempfile::tempdir().work_error()?;
        for name in names {
            self.fetch(&name, &copies.path().join(&name))?;
        }
        Ok(Self {
            shown: self.shown,
            files: Box::new(Folder(copies.path().into())),
            _copies: Some(copies),
        })
    }

    /// Writes a file whole or not at all.
    pub(crate) fn put(&self, name: &str, bytes: Vec<u8>) -> CliResult {
        self.files.put(name, bytes)
    }

    /// Writes many files, each whole or not at all, and stops at the first that fails. Some are on
    /// their way at the same time. The iterator itself uses no storage.
    pub(crate) fn put_all(&self, mut files: impl Iterator<Item = NamedBytes>) -> CliResult {
        self.files.put_all(&mut files)
    }

    /// Copies a local file, whole or not at all.
    pub(crate) fn put_file(&self, name: &str, file: &Path) -> CliResult {
        self.files.put_file(name, file)
    }

    /// The bytes of a file.
    pub(crate) fn get(&self, name: &str) -> CliResult<Vec<u8>> {
        self.find(name)?.ok_or_else(|| self.missing(name))
    }

    /// The bytes of a file; none if there is no file of this name.
    pub(crate) fn find(&self, name: &str) -> CliResult<Option<Vec<u8>>> {
        self.files.find(name)
    }

    /// The bytes of many files, each with its place among the names, in their order. Some are on
    /// their way at the same time. Stops at the first error of `each`, which itself uses no storage.
    pub(crate) fn get_all(
        &self,
        names: &[String],
        mut each: impl FnMut(usize, CliResult<Vec<u8>>) -> CliResult,
    ) -> CliResult {
        self.files.find_all(names, &mut |index, found| {
            let bytes = found.and_then(|bytes| bytes.ok_or_else(|| self.missing(&names[index])));
            each(index, bytes)
        })
    }

    /// Copies a file to this machine, whole or not at all.
    pub(crate) fn fetch(&self, name: &str, to: &Path) -> CliResult {
        match self.files.fetch(name, to)? {
            true => Ok(()),
            false => Err(self.missing(name)),
        }
    }

    /// The names of all files that start and end like this, in order.
    pub(crate) fn list(&self, start: &str, ending: &str) -> CliResult<Vec<String>> {
        let mut names = self.files.list(start, ending)?;
        names.sort();
        Ok(names)
    }

    /// All files of a place in object storage, those in folders too.
    pub(crate) fn list_below(&self) -> CliResult<Vec<StoredFile>> {
        self.files.list_below()
    }

    /// Removes a file, if it is there.
    pub(crate) fn remove(&self, name: &str) -> CliResult {
        self.files.remove(name)
    }

    /// The folder, where it is one of this machine.
    pub(crate) fn folder(&self) -> Option<&Path> {
        self.files.folder()
    }

    /// Whether two are one place.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.files.identity() == other.files.identity()
    }

    /// A file of this place, in messages.
    pub(crate) fn shown(&self, name: &str) -> String {
        format!("{}/{name}", self.shown.trim_end_matches('/'))
    }

    fn missing(&self, name: &str) -> CliError {
        CliError::input(format!("there is no {}", self.shown(name)))
    }
}

impl fmt::Display for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}
