//! A copy of a run's folder that is kept elsewhere, to go on from on another machine.
//!
//! The contents of files are objects named by their hash, and a manifest says which files they are.
//! The manifest is written after all of them, and what the one before needs is removed after that. So
//! a mirror is whole whenever the copying stops, and what has not changed is not sent again.

mod manifest;

use crate::console;
use crate::error::{CliError, CliResult, IntoCliResult};
use crate::storage::Storage;
use fewstep_distill::run::{is_run, saved};
use manifest::{CONTENTS, Contents, MANIFEST, Manifest, RunFiles};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The file that makes a folder a run. It is fetched last.
const RECIPE: &str = "recipe.toml";

/// The file that says what a run was started on. It never changes.
const INPUTS: &str = "inputs.toml";

/// The copy of a run's folder.
pub(crate) struct Mirror {
    storage: Storage,
    folder: PathBuf,
    files: RunFiles,
    /// What the mirror holds, as this process left or found it.
    held: Option<Manifest>,
    /// The objects in it; none before it was looked at.
    objects: Option<BTreeSet<String>>,
    /// Whether it is as the folder is.
    is_current: bool,
}

impl Mirror {
    /// The mirror of a run's folder in this place.
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
            is_current: false,
        })
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

    /// Makes the mirror what the folder is. What cannot be copied is said, and tried again the next
    /// time: the run itself goes on.
    pub(crate) fn follow(&mut self) {
        self.is_current = false;
        if let Err(error) = self.copy() {
            let context = format!("the mirror {} is behind", self.storage);
            eprintln!("warning: {}", error.context(&context).message());
        }
    }

    /// The same at the end, when it is the last time.
    ///
    /// # Errors
    /// When the mirror stays behind.
    pub(crate) fn finish(&mut self) -> CliResult {
        match self.is_current {
            true => Ok(()),
            false => self.copy().map_err(|error| {
                CliError::Work(anyhow::anyhow!(
                    "the run is whole in {}, and its mirror {} is behind (--resume copies it again): {}",
                    self.folder.display(),
                    self.storage,
                    error.message()
                ))
            }),
        }
    }

    fn copy(&mut self) -> CliResult {
        let clock = saved(&self.folder).map_or(0, |(clock, _)| clock);
        let manifest = Manifest::new(clock, self.files.contents(&self.folder)?);
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
                self.storage.put_file(&object, &self.folder.join(name))?;
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
        self.is_current = true;
        let mut unused = objects.difference(&needed);
        // What cannot be removed is looked up and tried again the next time.
        if unused.all(|object| self.storage.remove(object).is_ok()) {
            self.objects = Some(needed);
        }
        Ok(())
    }
}
