//! The folder of a run: a new one, or one that is resumed.

use super::mirror::{Mirror, MirrorPlace, remove_snapshot};
use super::recipe_changes::first_change;
use crate::console;
use crate::error::{CliError, CliResult, IntoCliResult};
use fewstep_data::{DataConfig, DataKind, Examples, expand_home};
use fewstep_distill::World;
use fewstep_distill::recipe::parse;
use fewstep_distill::run::{ChangedUpdates, Phase, Run, RunInputs, RunLock, checkpoints, is_run};
use fewstep_formats::{Model, write_atomically};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};

/// The folder of a run, which no other process has. Of the ranks of a run only rank 0 writes.
pub(crate) struct RunFolder {
    path: PathBuf,
    resume: bool,
    /// Held by rank 0.
    lock: Option<RunLock>,
    /// Kept by rank 0, where the recipe names one.
    mirror: Option<Mirror>,
}

impl RunFolder {
    /// Takes the folder: one without a run, or with one to resume. A run that is to be resumed and is
    /// not in the folder is fetched from its mirror, where the recipe names one.
    pub(crate) fn open(
        path: &Path,
        resume: bool,
        mirror: Option<&str>,
        world: &World,
    ) -> CliResult<Self> {
        // The others look into the folder once rank 0 has all in place.
        let taken = world.first_at_rank_0(|| match world.is_first() {
            true => Self::take(path, resume, mirror),
            false => Ok((None, None)),
        });
        let (lock, mirror) = taken??;
        Ok(Self {
            path: path.into(),
            resume,
            lock,
            mirror,
        })
    }

    fn take(
        path: &Path,
        resume: bool,
        mirror: Option<&str>,
    ) -> CliResult<(Option<RunLock>, Option<Mirror>)> {
        let mirror = mirror.map(|place| MirrorPlace::open(place, path));
        let mut mirror = mirror.transpose()?;
        let fetches = resume && mirror.is_some();
        if !fetches {
            check_occupied(path, resume)?;
        }
        let lock = RunLock::take(path).input_error()?;
        if is_run(path) {
            remove_snapshot(path);
        }
        match &mut mirror {
            Some(mirror) if resume => mirror.resume()?,
            Some(mirror) => mirror.check_vacant()?,
            None => {}
        }
        // It may have become a run in between.
        check_occupied(path, resume)?;
        Ok((Some(lock), mirror.map(Mirror::new)))
    }

    /// The copy of the folder that is kept elsewhere.
    pub(crate) fn take_mirror(&mut self) -> Option<Mirror> {
        self.mirror.take()
    }

    /// Whether the run is resumed.
    pub(crate) fn resume(&self) -> bool {
        self.resume
    }

    /// Refuses to resume with a recipe that gives another result.
    pub(crate) fn check_recipe<R>(&self, recipe: &R) -> CliResult
    where
        R: Serialize + DeserializeOwned,
    {
        let Some(stored) = self.stored::<R>()? else {
            return Ok(());
        };
        let [stored, now] = [&stored, recipe].map(toml::Table::try_from);
        let by_contents = RunInputs::are_stored(&self.path);
        match first_change(&stored.input_error()?, &now.input_error()?, by_contents) {
            None => Ok(()),
            Some(change) => Err(CliError::input(format!(
                "{} was started with another recipe ({change}): resume a run with the seed and the settings that it was started with",
                self.path.display()
            ))),
        }
    }

    /// Refuses to resume on other examples, before latents of them are made.
    pub(crate) fn check_examples(&self, examples: &Examples) -> CliResult {
        match self.resume {
            true => Ok(RunInputs::check_examples(&self.path, examples)?),
            false => Ok(()),
        }
    }

    /// Writes the recipe into the folder when the run may begin: it is new, or the recipe, the data
    /// and the teacher are those that it was started with. `phases` are those of a recipe.
    pub(crate) fn begin<R>(
        &self,
        recipe: &R,
        phases: &dyn Fn(&R) -> CliResult<Vec<Phase>>,
        run: &Run,
        initial: &Model,
    ) -> CliResult<RunInputs>
    where
        R: Serialize + DeserializeOwned,
    {
        self.check_recipe(recipe)?;
        match self.resume {
            true => run.check(initial)?,
            false => run.check_new(initial)?,
        }
        let inputs = run.inputs(initial)?;
        if let Some(stored) = self.stored::<R>()? {
            let changed = run.check_resumed(&phases(&stored)?, initial)?;
            inputs.check(&self.path)?;
            changed
                .iter()
                .for_each(|change| console::note(format_args!("{}", note(change))));
            if checkpoints(&self.path).is_empty() {
                let path = self.path.display();
                console::note(format_args!(
                    "{path} has no checkpoint yet: the run starts at its beginning"
                ));
            }
        }
        run.agree(&inputs)?;
        if self.lock.is_none() {
            return Ok(inputs);
        }
        let resolved = toml::to_string(recipe).input_error()?;
        write_atomically(&self.recipe_file(), resolved.as_bytes()).input_error()?;
        Ok(inputs)
    }

    /// The recipe of a run that is resumed. An older version may have had other names for its keys,
    /// or fewer of them.
    pub(crate) fn stored<R: DeserializeOwned>(&self) -> CliResult<Option<R>> {
        if !self.resume {
            return Ok(None);
        }
        let file = self.recipe_file();
        let text = fewstep_data::read_text(&file).input_error()?;
        Ok(Some(parse(&text, &file.display().to_string())?))
    }

    fn recipe_file(&self) -> PathBuf {
        self.path.join("recipe.toml")
    }
}

/// Refuses a run in the folder of its images, where sample grids would become examples and the
/// folders of the run classes.
pub(super) fn check_apart(run: &Path, data: &DataConfig) -> CliResult {
    let place = |path: &Path| {
        path.canonicalize()
            .or_else(|_| std::path::absolute(path))
            .ok()
    };
    let (folder, set) = (place(run), place(&expand_home(&data.path)));
    let is_inside = folder
        .zip(set)
        .is_some_and(|(run, set)| run.starts_with(set));
    match data.kind {
        DataKind::Folder | DataKind::Captioned if is_inside => Err(CliError::input(format!(
            "the run would be in {}, inside the images of {}, and change the set: choose another folder (--out)",
            run.display(),
            data.path.display()
        ))),
        _ => Ok(()),
    }
}

pub(super) fn check_occupied(path: &Path, resume: bool) -> CliResult {
    let path_shown = path.display();
    match (is_run(path), resume) {
        (true, false) => Err(CliError::input(format!(
            "{path_shown} already holds a run: continue it (--resume) or choose another folder (--out)"
        ))),
        (false, true) => Err(CliError::input(format!(
            "there is no run in {path_shown} to continue: start one without --resume, or give its folder (--out)"
        ))),
        _ => Ok(()),
    }
}

/// What another number of updates means.
fn note(change: &ChangedUpdates) -> String {
    let [before, now] = change.updates;
    let (phase, done) = (&change.phase, change.done);
    let planned = format!("`{phase}` has {now} updates now, and was planned for {before}");
    match change.lr {
        None if done == 0 => planned,
        None => format!("{planned}; the learning rate of those that are done is the same"),
        Some([was, is]) => format!(
            "{planned}. The learning rate depends on that number: it was {was:.3e} in update {done}, and goes on at {is:.3e}. The result is another than with {now} updates from the start"
        ),
    }
}
