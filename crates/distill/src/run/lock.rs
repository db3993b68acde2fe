//! One process at a time works in the folder of a run.

use super::RunError;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};

const NAME: &str = ".lock";

/// The folder of a run, kept from other processes until this is dropped. The system frees it too
/// when the process ends in any way, so no lock outlives its run.
#[derive(Debug)]
pub struct RunLock {
    folder: PathBuf,
    is_new: bool,
    /// Locked as long as it is open.
    _file: File,
}

impl RunLock {
    /// Takes a folder, which is made if it is not there.
    ///
    /// # Errors
    /// When another process has it, which is named, or it cannot be written.
    pub fn take(folder: &Path) -> Result<Self, RunError> {
        let is_new = !folder.exists();
        std::fs::create_dir_all(folder).map_err(RunError::writing(folder))?;
        let path = folder.join(NAME);
        let open = || {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            options.open(&path).map_err(RunError::writing(&path))
        };
        loop {
            let mut file = open()?;
            // Where files cannot be locked, as on some network disks, nothing is kept from others.
            if let Err(TryLockError::WouldBlock) = file.try_lock() {
                return Err(RunError::InUse {
                    folder: folder.into(),
                    owner: owner(&path),
                });
            }
            // Its owner may have removed it between opening and locking.
            if is_at(&file, &path) {
                // Only a help for people.
                let _ = file.set_len(0).and_then(|()| {
                    file.rewind()?;
                    writeln!(file, "process {}{}", std::process::id(), on_host())
                });
                return Ok(Self {
                    folder: folder.into(),
                    is_new,
                    _file: file,
                });
            }
        }
    }
}

impl RunLock {
    /// The process that has a folder at the moment, if there is one.
    pub fn owner(folder: &Path) -> Option<String> {
        let path = folder.join(NAME);
        let file = File::open(&path).ok()?;
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => Some(owner(&path)),
            _ => None,
        }
    }
}

impl Drop for RunLock {
    fn drop(&mut self) {
        // A lock that cannot be removed is free all the same. A folder that has become a run is not
        // empty and stays.
        let _ = std::fs::remove_file(self.folder.join(NAME));
        if self.is_new {
            let _ = std::fs::remove_dir(&self.folder);
        }
    }
}

fn owner(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    match text.trim() {
        "" => "another process".into(),
        owner => owner.chars().take(100).collect(),
    }
}

/// The host in words, where its name is easy to know.
fn on_host() -> String {
    let named = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let named = named.or_else(|| std::env::var("HOSTNAME").ok());
    let named = named.or_else(|| std::env::var("COMPUTERNAME").ok());
    named.map_or(String::new(), |name| format!(" on {}", name.trim()))
}

/// Whether the open file is still the one with this path.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let place = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    let (open, named) = (file.metadata().map(place), path.metadata().map(place));
    matches!((open, named), (Ok(open), Ok(named)) if open == named)
}

#[cfg(not(unix))]
fn is_at(_: &File, path: &Path) -> bool {
    path.exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_owner_at_a_time() {
        let home = tempfile::tempdir().expect("a folder");
        let folder = home.path().join("runs/a");
        let lock = RunLock::take(&folder).expect("free");
        let error = RunLock::take(&folder).expect_err("taken").to_string();
        let process = format!("process {}", std::process::id());
        assert!(error.contains(&process), "{error}");
        drop(lock);
        assert!(!folder.exists(), "nothing was written into it");
        // What a killed process leaves is taken over, whatever is in it.
        std::fs::create_dir_all(&folder).expect("made");
        std::fs::write(folder.join(NAME), "process 1 on elsewhere, long ago").expect("written");
        let lock = RunLock::take(&folder).expect("free");
        let text = std::fs::read_to_string(folder.join(NAME)).expect("read");
        assert!(
            text.starts_with(&process) && !text.contains("long"),
            "{text}"
        );
        drop(lock);
        assert!(folder.exists() && !folder.join(NAME).exists());
    }
}
