//! The files of a run at one moment, for a copy that takes longer than that.

use super::manifest::RunFiles;
use crate::error::{CliError, CliResult};
use fewstep_distill::run::is_run;
use std::fs;
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

/// The folder for them inside that of the run.
const FOLDER: &str = ".mirror";

/// Files of a run as they were when it was taken. They are there until it is dropped, also those
/// that the run removes meanwhile.
pub(super) struct Snapshot(PathBuf);

impl Snapshot {
    /// Takes one of a run's folder, into which nothing is written at this moment.
    ///
    /// What is in folders of the run (checkpoints, models, samples) is written whole and never
    /// changed, so a second name for it is enough: that costs neither time nor space. Files next to
    /// them, which may grow, are copied; they are short. A folder may be that of another run.
    ///
    /// # Errors
    /// When a file cannot be read, or the disk has no room for what is copied.
    pub(super) fn take(run: &Path) -> CliResult<Self> {
        remove(run);
        let snapshot = Self(run.join(FOLDER));
        for name in RunFiles::list(run)? {
            snapshot.keep(run, &name).map_err(|error| {
                let file = run.join(&name);
                CliError::Work(
                    anyhow::Error::new(error).context(format!("cannot copy {}", file.display())),
                )
            })?;
        }
        Ok(snapshot)
    }

    fn keep(&self, run: &Path, name: &str) -> Result<(), Error> {
        let (from, to) = (run.join(name), self.0.join(name));
        fs::create_dir_all(to.parent().unwrap_or(&self.0))?;
        let never_changes = name.contains('/') && !from.parent().is_some_and(is_run);
        // Some disks know no second names, and a folder of the run may be on another disk.
        if never_changes && fs::hard_link(from.canonicalize()?, &to).is_ok() {
            return Ok(());
        }
        fs::copy(from, to).map(drop)
    }

    /// The folder that they are in, under their names.
    pub(super) fn folder(&self) -> &Path {
        &self.0
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        // What cannot be removed now is, before the next one is taken.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Removes what a killed process left of one.
pub(crate) fn remove(run: &Path) {
    let folder = run.join(FOLDER);
    if let Err(error) = fs::remove_dir_all(&folder)
        && error.kind() != ErrorKind::NotFound
    {
        tracing::warn!("cannot remove {}: {error}", folder.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_stays_as_the_run_was() {
        let run = tempfile::tempdir().expect("a folder");
        let of = |name: &str| run.path().join(name);
        let write = |name: &str, text: &str| {
            fs::create_dir_all(of(name).parent().expect("inside")).expect("made");
            fs::write(of(name), text).expect("written");
        };
        write("metrics.jsonl", "1\n");
        write("checkpoints/1/raw", "first");
        write("second/recipe.toml", "seed = 1");
        write("second/metrics.jsonl", "1\n");
        write(".lock", "");
        write(".mirror/old", "of a killed process");
        let Ok(snapshot) = Snapshot::take(run.path()) else {
            panic!("taken");
        };
        let grow = |name: &str| {
            let file = fs::OpenOptions::new().append(true).open(of(name));
            std::io::Write::write_all(&mut file.expect("there"), b"2\n").expect("written");
        };
        grow("metrics.jsonl");
        grow("second/metrics.jsonl");
        fs::remove_dir_all(of("checkpoints/1")).expect("removed");
        write("checkpoints/2/raw", "second");
        let Ok(names) = RunFiles::list(snapshot.folder()) else {
            panic!("listed");
        };
        let of_both = [
            "checkpoints/1/raw",
            "metrics.jsonl",
            "second/metrics.jsonl",
            "second/recipe.toml",
        ];
        assert_eq!(names, of_both);
        let read = |name: &str| fs::read_to_string(snapshot.folder().join(name)).expect("there");
        assert_eq!(read("checkpoints/1/raw"), "first");
        assert_eq!(read("metrics.jsonl"), "1\n");
        assert_eq!(read("second/metrics.jsonl"), "1\n");
        drop(snapshot);
        assert!(!of(".mirror").exists());
        assert_eq!(
            fs::read_to_string(of("metrics.jsonl")).expect("there"),
            "1\n2\n"
        );
    }

    /// Links, as where checkpoints are on a larger disk, are followed.
    #[cfg(unix)]
    #[test]
    fn what_a_link_names_is_kept() {
        let run = tempfile::tempdir().expect("a folder");
        let elsewhere = tempfile::tempdir().expect("a folder");
        fs::write(elsewhere.path().join("raw"), "weights").expect("written");
        let link = |from: &Path, to: &str| {
            std::os::unix::fs::symlink(from, run.path().join(to)).expect("linked");
        };
        link(elsewhere.path(), "checkpoints");
        fs::create_dir(run.path().join("models")).expect("made");
        link(&elsewhere.path().join("raw"), "models/raw");
        let Ok(snapshot) = Snapshot::take(run.path()) else {
            panic!("taken");
        };
        for name in ["checkpoints/raw", "models/raw"] {
            let file = snapshot.folder().join(name);
            assert!(!file.is_symlink(), "{name}");
            assert_eq!(
                fs::read_to_string(file).expect("there"),
                "weights",
                "{name}"
            );
        }
    }
}
