//! Checkpoints: written to a temporary name, synced, renamed; so each is whole or absent.

use super::RunError;
use super::log::Window;
use super::players::Players;
use crate::optim::OptimizerFileError;
use burn::tensor::Device;
use fewstep_diffusion::SamplerRecipe;
use fewstep_formats::{Model, write_atomically, write_json_atomically};
use fewstep_nn::Precision;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Error;
use std::path::{Path, PathBuf};

/// Where a run stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    /// Index of the phase.
    pub phase: usize,
    /// Updates of the phase so far.
    pub updates: u64,
    /// Samples of the run so far.
    pub clock: u64,
}

/// The folder of checkpoints of a run. What has no name of a checkpoint is not ours and stays.
pub(super) struct Checkpoints {
    folder: PathBuf,
    keep: usize,
    /// Whether this process is the one that writes.
    writes: bool,
}

/// What a phase goes on from.
pub(super) struct State<'a> {
    pub(super) players: &'a Players,
    pub(super) recipe: &'a SamplerRecipe,
    /// The updates that are not in the log yet.
    pub(super) window: &'a Window,
}

impl Checkpoints {
    pub(super) fn new(run: &Path, keep: usize) -> Self {
        Self {
            folder: run.join("checkpoints"),
            keep,
            writes: true,
        }
    }

    /// The same folder, seen by a process that writes into it, or only reads.
    pub(super) fn writing(self, writes: bool) -> Self {
        Self { writes, ..self }
    }

    /// Saves where the run stands, then forgets all but the newest. Returns the checkpoint's
    /// folder. Of one that cannot be saved nothing stays.
    pub(super) fn save(
        &self,
        position: &Position,
        state: Option<State<'_>>,
    ) -> Result<PathBuf, RunError> {
        let target = self.folder.join(name(position));
        if !self.writes {
            return Ok(target);
        }
        let building = self.folder.join(name(position) + UNFINISHED);
        let written = self.write(position, state, &building, &target);
        if written.is_err() {
            // It takes space that may be what was missing; if it cannot be removed, the next run
            // does.
            let _ = remove(&building);
        }
        written?;
        for old in self.list().iter().rev().skip(self.keep) {
            remove(old).map_err(RunError::writing(old))?;
        }
        Ok(target)
    }

    fn write(
        &self,
        position: &Position,
        state: Option<State<'_>>,
        building: &Path,
        target: &Path,
    ) -> Result<(), RunError> {
        remove(building).map_err(RunError::writing(building))?;
        std::fs::create_dir_all(building).map_err(RunError::writing(building))?;
        if let Some(state) = state {
            save(state, building)?;
        }
        write_json_atomically(&building.join("position.json"), position)?;
        remove(target).map_err(RunError::writing(target))?;
        std::fs::rename(building, target).map_err(RunError::writing(target))
    }

    /// The newest whole checkpoint and its folder.
    pub(super) fn newest(&self) -> Result<Option<(Position, PathBuf)>, RunError> {
        self.list().pop().map(read).transpose()
    }

    /// The newest one in the middle of a phase.
    pub(super) fn newest_within(
        &self,
        phase: usize,
    ) -> Result<Option<(Position, PathBuf)>, RunError> {
        for path in self.list().into_iter().rev() {
            let (position, path) = read(path)?;
            if position.phase == phase && position.updates > 0 {
                return Ok(Some((position, path)));
            }
        }
        Ok(None)
    }

    /// Whether a checkpoint has the players of a phase.
    pub(super) fn has_players(path: &Path) -> bool {
        path.join(OPTIMIZER).is_file()
    }

    /// Removes what killed processes left unfinished. The folder must be this process's.
    pub(super) fn remove_leftovers(&self) -> Result<(), RunError> {
        for path in self.entries() {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.strip_suffix(UNFINISHED).and_then(place).is_some() {
                remove(&path).map_err(RunError::writing(&path))?;
            }
        }
        Ok(())
    }

    /// The updates in a checkpoint that are not in the log yet.
    pub(super) fn window(path: &Path) -> Result<Window, RunError> {
        let file = path.join(WINDOW);
        match std::fs::read_to_string(&file) {
            Ok(text) => toml::from_str(&text).map_err(|e| damaged(path, e.to_string())),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Window::new()),
            Err(e) => Err(RunError::reading(&file)(e)),
        }
    }

    /// Takes up a phase where a checkpoint left it.
    pub(super) fn restore(
        path: &Path,
        position: &Position,
        players: &mut Players,
        (device, computing, stored): (&Device, Precision, Precision),
    ) -> Result<(), RunError> {
        let load = |name: &str| {
            let model = Model::load(&path.join(name), device)?;
            let network = model.network.computing_in(computing);
            Ok::<_, RunError>(network.with_weight_dtype(stored))
        };
        let raw = load("raw.safetensors")?;
        let average = load("average.safetensors")?;
        let bad = |error: OptimizerFileError| damaged(path, error.to_string());
        let (updates, of_others) = players.own_updates(position.updates);
        let optimizer = path.join(OPTIMIZER);
        let student = &mut players.student;
        student
            .restore(raw, Some(average), &optimizer, updates)
            .map_err(bad)?;
        for (other, updates) in players.others.iter_mut().zip(of_others) {
            let state = &mut other.state;
            state.restore(path, other.name, updates).map_err(bad)?;
        }
        players.resume_at(position.updates);
        Ok(())
    }

    /// Whole checkpoints, oldest first.
    fn list(&self) -> Vec<PathBuf> {
        let place = |path: &PathBuf| place(path.file_name()?.to_str()?);
        let mut whole: Vec<PathBuf> = self.entries();
        whole.retain(|path| path.is_dir() && place(path).is_some());
        whole.sort_by_key(place);
        whole
    }

    fn entries(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten();
        entries.flatten().map(|entry| entry.path()).collect()
    }
}

/// Names of the whole checkpoints of a run, oldest first.
pub fn checkpoints(run: &Path) -> Vec<String> {
    let name = |path: PathBuf| Some(path.file_name()?.to_str()?.to_string());
    let all = Checkpoints::new(run, 1).list().into_iter();
    all.filter_map(name).collect()
}

/// Samples that a run has seen, of all its phases, and the phase, counted from 0, in its newest
/// checkpoint.
pub fn saved(run: &Path) -> Option<(u64, usize)> {
    place(checkpoints(run).last()?)
}

const OPTIMIZER: &str = "optimizer.bin";
const WINDOW: &str = "window.toml";
/// The ending of a checkpoint that is not finished.
const UNFINISHED: &str = ".tmp";

/// Writes the student's parameters, their average and its optimiser, then those of the other
/// players.
fn save(state: State<'_>, folder: &Path) -> Result<(), RunError> {
    let (players, recipe) = (state.players, state.recipe);
    let student = &players.student;
    for (name, network) in [
        ("raw.safetensors", student.raw()),
        ("average.safetensors", student.result()),
    ] {
        let model = Model {
            network,
            recipe: recipe.clone(),
        };
        model.save_file(&folder.join(name))?;
    }
    let sync = |file: &Path| {
        let synced = File::open(file).and_then(|file| file.sync_all());
        synced.map_err(RunError::writing(file))
    };
    let optimizer = folder.join(OPTIMIZER);
    let saved = student.save_optimizer(&optimizer).map_err(Error::other);
    saved.map_err(RunError::writing(&optimizer))?;
    sync(&optimizer)?;
    for other in &players.others {
        let saved = other.state.save(folder, other.name).map_err(Error::other);
        let files = saved.map_err(RunError::writing(folder))?;
        files.iter().try_for_each(|file| sync(file))?;
    }
    if !state.window.is_empty() {
        let file = folder.join(WINDOW);
        // TOML, since it keeps every bit of a number.
        let text = toml::to_string(&state.window.stopped()).map_err(Error::other);
        let text = text.map_err(RunError::writing(&file))?;
        write_atomically(&file, text.as_bytes())?;
    }
    Ok(())
}

fn read(path: PathBuf) -> Result<(Position, PathBuf), RunError> {
    let file = path.join("position.json");
    let text = std::fs::read_to_string(&file).map_err(RunError::reading(&file))?;
    let position = serde_json::from_str(&text).map_err(|e| damaged(&path, e.to_string()))?;
    Ok((position, path))
}

fn name(position: &Position) -> String {
    format!("{:012}-{:03}", position.clock, position.phase)
}

/// The clock and the phase of a checkpoint, which are its name. At the same clock the start of the
/// next phase comes last.
fn place(name: &str) -> Option<(u64, usize)> {
    let (clock, phase) = name.split_once('-')?;
    let number = |text: &str, digits: usize| {
        let plain = text.len() >= digits && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| plain)
    };
    Some((number(clock, 12)?, number(phase, 3)? as usize))
}

fn remove(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

fn damaged(path: &Path, reason: String) -> RunError {
    RunError::Checkpoint {
        path: path.into(),
        reason,
    }
}
