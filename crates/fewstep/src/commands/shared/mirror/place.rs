//! The place in which a run is mirrored: what it holds, and copying to it and from it.

use super::manifest::{CONTENTS, Contents, MANIFEST, Manifest, RunFiles};
use crate::console;
use crate::error::{CliError, CliResult, IntoCliResult};
use crate::storage::Storage;
use fewstep_distill::run::{is_run, saved};
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

/// The file that makes a folder a run. It is fetched last.
const RECIPE: &str = "recipe.toml";

/// The file that says what a run was started on. It never changes.
const INPUTS: &str = "inputs.toml";

/// Where a run is mirrored.
pub(crate) struct MirrorPlace {
    storage: Storage,
    /// The folder of the run.
    folder: PathBuf,
    files: RunFiles,
    /// What is there, as this process left or found it.
    held: Option<Manifest>,
    /// The objects that are there; none before it was looked at.
    objects: Option<BTreeSet<String>>,
}

impl MirrorPlace {
    /// The place of this name, for the run in a folder.
    ///
    /// # Errors
    /// When the place cannot be used, or is inside the folder.
    pub(crate) fn open(place: &str, folder: &Path) -> CliResult<Self> {
        let named = |error: CliError| error.context("run.mirror");
        let storage = Storage::open(Path::new(place)).map_err(named)?;
        let absolute = |path: &Path| {
            let path = path.canonicalize().or_else(|_| std::path::absolute(path));
            path.unwrap_or_default()
        };
        let inside = |mirror: &Path| absolute(mirror).starts_with(absolute(folder));
        if storage.folder().is_some_and(inside) {
            return Err(CliError::input(format!(
                "run.mirror: {storage} is inside the run's folder {}: choose a place outside",
                folder.display()
            )));
        }
        Ok(Self {
            storage,
            folder: folder.into(),
            files: RunFiles::default(),
            held: None,
            objects: None,
        })
    }

    /// The folder of the run.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    fn manifest(&self) -> CliResult<Option<Manifest>> {
        let found = self.storage.find(MANIFEST)?;
        let shown = self.storage.shown(MANIFEST);
        found
            .map(|bytes| Manifest::parse(&bytes, &shown))
            .transpose()
    }

    /// Refuses to begin a new run where another is mirrored.
    ///
    /// # Errors
    /// When the mirror holds a run, or cannot be read.
    pub(crate) fn check_vacant(&mut self) -> CliResult {
        match self.manifest()? {
            None => Ok(()),
            Some(_) => Err(CliError::input(format!(
                "{} holds the mirror of a run: continue that (--resume) or choose another place for `run.mirror`",
                self.storage
            ))),
        }
    }

    /// Brings the run to be resumed into the folder, unless it is there.
    ///
    /// # Errors
    /// When the run is in neither place, or has gone on in the mirror while it stood still here.
    pub(crate) fn resume(&mut self) -> CliResult {
        self.held = self.manifest()?;
        let folder = self.folder.display();
        match (&self.held, is_run(&self.folder)) {
            (None, true) => Ok(()),
            (None, false) => Err(CliError::input(format!(
                "there is no run to continue in {folder}, nor in its mirror {}: start one without --resume",
                self.storage
            ))),
            (Some(held), false) => self.fetch(&held.clone()),
            (Some(held), true) => self.check_behind(held),
        }
    }

    fn check_behind(&self, held: &Manifest) -> CliResult {
        let folder = self.folder.display();
        let inputs = self.folder.join(INPUTS);
        if let Some(there) = held.files.get(INPUTS)
            && inputs.is_file()
            && Contents::of(&inputs)? != *there
        {
            return Err(CliError::input(format!(
                "{} is the mirror of another run than the one in {folder}: choose another place for `run.mirror`",
                self.storage
            )));
        }
        let here = saved(&self.folder).map_or(0, |(clock, _)| clock);
        match held.clock > here {
            true => Err(CliError::input(format!(
                "the run in {folder} has seen {here} samples, and its mirror {} {}: it went on elsewhere. Continue it there, or in an empty folder (--out), into which the mirror is fetched",
                self.storage, held.clock
            ))),
            false => Ok(()),
        }
    }

    /// Copies the run into the folder, the file that makes it a run last.
    fn fetch(&self, held: &Manifest) -> CliResult {
        let others = RunFiles::list(&self.folder)?;
        if let Some(other) = others.iter().find(|name| !held.files.contains_key(*name)) {
            return Err(CliError::input(format!(
                "{} is not empty: `{other}` is no file of the run in {}. Choose an empty folder (--out), into which the run is fetched",
                self.folder.display(),
                self.storage
            )));
        }
        let bytes: u64 = held.files.values().map(|contents| contents.bytes).sum();
        console::note(format_args!(
            "fetching the run from {} ({} files, {:.1} MB)",
            self.storage,
            held.files.len(),
            bytes as f64 / 1e6
        ));
        let (last, first): (Vec<_>, Vec<_>) =
            held.files.iter().partition(|(name, _)| *name == RECIPE);
        for (name, contents) in first.into_iter().chain(last) {
            let to = self.folder.join(name);
            if to.is_file() && Contents::of(&to)? == *contents {
                continue;
            }
            self.storage.fetch(&contents.object(), &to)?;
            if Contents::of(&to)? != *contents {
                return Err(CliError::input(format!(
                    "{} is damaged: it is not what was written",
                    self.storage.shown(&contents.object())
                )));
            }
        }
        Ok(())
    }

    /// Makes the mirror what the run is in `from`, which does not change meanwhile.
    ///
    /// # Errors
    /// When a file cannot be read or written, or something else is mirrored there. What was there
    /// before is whole then.
    pub(super) fn copy(&mut self, from: &Path) -> CliResult {
        let clock = saved(from).map_or(0, |(clock, _)| clock);
        let manifest = Manifest::new(clock, self.files.contents(from)?);
        if let Some(folder) = self.storage.folder() {
            std::fs::create_dir_all(folder).work_error()?;
        }
        let mut objects = match self.objects.take() {
            Some(objects) => objects,
            None => self.storage.list(CONTENTS, "")?.into_iter().collect(),
        };
        // What is sent is known only once all is: after an error it is looked up again.
        for (name, contents) in &manifest.files {
            let object = contents.object();
            if !objects.contains(&object) {
                self.storage.put_file(&object, &from.join(name))?;
                objects.insert(object);
            }
        }
        let found = self.manifest()?;
        if found != self.held && found.as_ref() != Some(&manifest) {
            return Err(CliError::input(
                "another process has written to it: a run needs a mirror of its own",
            ));
        }
        self.storage.put(MANIFEST, manifest.bytes()?)?;
        let needed: BTreeSet<String> = manifest.files.values().map(Contents::object).collect();
        self.held = Some(manifest);
        let mut unused = objects.difference(&needed);
        // What cannot be removed is looked up and tried again the next time.
        if unused.all(|object| self.storage.remove(object).is_ok()) {
            self.objects = Some(needed);
        }
        Ok(())
    }
}

impl fmt::Display for MirrorPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.storage.fmt(f)
    }
}
