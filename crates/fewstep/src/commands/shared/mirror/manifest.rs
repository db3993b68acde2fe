//! What a mirror holds.

use crate::error::{CliError, CliResult, IntoCliResult};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::Path;
use std::time::SystemTime;

/// The name of the object that says what the others are. It is written last, so that a mirror is
/// always a run as it was at one moment.
pub(super) const MANIFEST: &str = "mirror.json";

/// The objects with the contents of files begin like this, and end with their hash.
pub(super) const CONTENTS: &str = "file-";

/// The version of this layout.
const VERSION: u32 = 1;

/// The files of a run at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Manifest {
    version: u32,
    /// Samples that the run has seen.
    pub(super) clock: u64,
    /// By their paths in the run's folder, with `/` between names.
    pub(super) files: BTreeMap<String, Contents>,
}

/// What is in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Contents {
    sha256: String,
    pub(super) bytes: u64,
}

impl Contents {
    pub(super) fn of(file: &Path) -> CliResult<Self> {
        let read = || -> std::io::Result<Self> {
            let mut hash = Sha256::new();
            let bytes = std::io::copy(&mut File::open(file)?, &mut hash)?;
            let sha256 = format!("{:x}", hash.finalize());
            Ok(Self { sha256, bytes })
        };
        read().map_err(|error| CliError::input(format!("cannot read {}: {error}", file.display())))
    }

    /// The object that they are in.
    pub(super) fn object(&self) -> String {
        format!("{CONTENTS}{}", self.sha256)
    }
}

impl Manifest {
    pub(super) fn new(clock: u64, files: BTreeMap<String, Contents>) -> Self {
        Self {
            version: VERSION,
            clock,
            files,
        }
    }

    /// From the object of this name.
    ///
    /// # Errors
    /// When it is damaged, of a later version, or names files outside the folder.
    pub(super) fn parse(bytes: &[u8], shown: &str) -> CliResult<Self> {
        let unusable = |reason: String| {
            CliError::input(format!(
                "{shown} is no mirror of a run, or damaged: {reason}"
            ))
        };
        let read: Self = serde_json::from_slice(bytes).map_err(|e| unusable(e.to_string()))?;
        if read.version != VERSION {
            return Err(unusable(format!(
                "its layout has version {}, and this program knows version {VERSION}",
                read.version
            )));
        }
        let is_inside = |name: &&String| {
            let mut parts = name.split('/');
            !parts
                .any(|part| part.starts_with('.') || part.is_empty() || part.contains(['\\', ':']))
        };
        match read.files.keys().find(|name| !is_inside(name)) {
            Some(name) => Err(unusable(format!("it names the file `{name}`"))),
            None => Ok(read),
        }
    }

    pub(super) fn bytes(&self) -> CliResult<Vec<u8>> {
        let mut text = serde_json::to_vec_pretty(self).work_error()?;
        text.push(b'\n');
        Ok(text)
    }
}

/// The files of a run's folder. What was read once and has not changed is not read again.
#[derive(Default)]
pub(super) struct RunFiles {
    /// By their names in the run's folder.
    known: HashMap<String, (u64, SystemTime, Contents)>,
}

impl RunFiles {
    /// All that belongs to a run: no locks, and nothing that is not finished.
    pub(super) fn list(folder: &Path) -> CliResult<Vec<String>> {
        let mut names = vec![];
        walk(folder, "", &mut names).map_err(|error| {
            CliError::input(format!("cannot list {}: {error}", folder.display()))
        })?;
        names.sort();
        Ok(names)
    }

    /// Their contents. The folder may be another each time, with the files of the same run.
    pub(super) fn contents(&mut self, folder: &Path) -> CliResult<BTreeMap<String, Contents>> {
        let mut all = BTreeMap::new();
        for name in Self::list(folder)? {
            let path = folder.join(&name);
            let state = path
                .metadata()
                .and_then(|file| Ok((file.len(), file.modified()?)));
            let state = state.ok();
            let known = self
                .known
                .get(&name)
                .filter(|known| state == Some((known.0, known.1)));
            let contents = match known {
                Some((.., contents)) => contents.clone(),
                None => Contents::of(&path)?,
            };
            if let Some((length, time)) = state {
                self.known
                    .insert(name.clone(), (length, time, contents.clone()));
            }
            all.insert(name, contents);
        }
        Ok(all)
    }
}

fn walk(folder: &Path, inside: &str, names: &mut Vec<String>) -> std::io::Result<()> {
    for entry in folder.read_dir()? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        if name.starts_with('.') || name.ends_with(".tmp") {
            continue;
        }
        let (path, name) = (entry.path(), format!("{inside}{name}"));
        match path.is_dir() {
            true => walk(&path, &format!("{name}/"), names)?,
            false => names.push(name),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_inside_the_folder_are_taken_from_a_manifest() {
        let contents = Contents {
            sha256: "ab".into(),
            bytes: 1,
        };
        let of = |name: &str| {
            let manifest = Manifest::new(3, [(name.to_string(), contents.clone())].into());
            let bytes = manifest.bytes().unwrap_or_default();
            Manifest::parse(&bytes, "there").is_ok_and(|read| read == manifest)
        };
        assert!(of("checkpoints/1/raw.safetensors"));
        for outside in [
            "../a",
            "/a",
            "a/../../b",
            "a//b",
            "c:/a",
            "a\\..\\b",
            ".lock",
            "",
        ] {
            assert!(!of(outside), "{outside}");
        }
        assert!(Manifest::parse(b"{\"version\": 2, \"clock\": 0, \"files\": {}}", "x").is_err());
    }

    #[test]
    fn files_that_are_not_finished_do_not_belong_to_a_run() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in [
            "recipe.toml",
            ".lock",
            "checkpoints/1/a",
            "checkpoints/2.tmp/a",
            "models/.tmp12.tmp",
        ] {
            let file = folder.path().join(name);
            std::fs::create_dir_all(file.parent().expect("inside")).expect("made");
            std::fs::write(file, name).expect("written");
        }
        let mut files = RunFiles::default();
        let Ok(contents) = files.contents(folder.path()) else {
            panic!("listed");
        };
        let names: Vec<&String> = contents.keys().collect();
        assert_eq!(names, ["checkpoints/1/a", "recipe.toml"]);
    }
}
