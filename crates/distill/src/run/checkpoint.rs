//! Checkpoints: written to a temporary name, synced, renamed; so each is whole or absent.

use super::RunError;
use super::players::Players;
use crate::optim::OptimizerFileError;
use burn::tensor::Device;
use fewstep_diffusion::SamplerRecipe;
use fewstep_formats::{Model, write_json_atomically};
use fewstep_nn::Precision;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Error;
use std::path::{Path, PathBuf};

/// Where a run stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    /// Index of the phase.
    pub phase: usize,
    /// Updates of the phase so far.
    pub updates: u64,
    /// Samples of the run so far.
    pub clock: u64,
}

/// The folder of checkpoints of a run.
pub(super) struct Checkpoints {
    folder: PathBuf,
    keep: usize,
}

impl Checkpoints {
    pub(super) fn new(run: &Path, keep: usize) -> Self {
        Self {
            folder: run.join("checkpoints"),
            keep,
        }
    }

    /// Saves where the run stands, then forgets all but the newest. Returns the checkpoint's
    /// folder.
    pub(super) fn save(
        &self,
        position: &Position,
        players: Option<&Players>,
        recipe: &SamplerRecipe,
    ) -> Result<PathBuf, RunError> {
        let target = self.folder.join(name(position));
        let building = self.folder.join(format!("{}.tmp", name(position)));
        let io = |path: &Path| RunError::io(path.to_path_buf());
        remove(&building).map_err(io(&building))?;
        std::fs::create_dir_all(&building).map_err(io(&building))?;
        if let Some(players) = players {
            save(players, recipe, &building)?;
        }
        write_json_atomically(&building.join("position.json"), position)?;
        remove(&target).map_err(io(&target))?;
        std::fs::rename(&building, &target).map_err(io(&target))?;
        for old in self.list().iter().rev().skip(self.keep) {
            remove(old).map_err(io(old))?;
        }
        Ok(target)
    }

    /// The newest whole checkpoint and its folder.
    pub(super) fn newest(&self) -> Result<Option<(Position, PathBuf)>, RunError> {
        let Some(path) = self.list().pop() else {
            return Ok(None);
        };
        let file = path.join("position.json");
        let text = std::fs::read_to_string(&file).map_err(RunError::io(&file))?;
        let position = serde_json::from_str(&text).map_err(|e| damaged(&path, e.to_string()))?;
        Ok(Some((position, path)))
    }

    /// Takes up a phase where a checkpoint left it.
    pub(super) fn restore(
        path: &Path,
        position: &Position,
        players: &mut Players,
        (device, precision): (&Device, Precision),
    ) -> Result<(), RunError> {
        let load = |name: &str| {
            let model = Model::load(&path.join(name), device)?;
            Ok::<_, RunError>(model.network.computing_in(precision))
        };
        let raw = load("raw.safetensors")?;
        let average = load("average.safetensors")?;
        let bad = |error: OptimizerFileError| damaged(path, error.to_string());
        let (updates, of_others) = players.own_updates(position.updates);
        let optimizer = path.join("optimizer.bin");
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
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten();
        let mut whole: Vec<PathBuf> = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.is_dir() && path.extension().is_none())
            .collect();
        whole.sort();
        whole
    }
}

/// Writes the student's parameters, their average and its optimiser, then those of the other
/// players.
fn save(players: &Players, recipe: &SamplerRecipe, folder: &Path) -> Result<(), RunError> {
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
        synced.map_err(RunError::io(file))
    };
    let optimizer = folder.join("optimizer.bin");
    let saved = student.save_optimizer(&optimizer).map_err(Error::other);
    saved.map_err(RunError::io(&optimizer))?;
    sync(&optimizer)?;
    for other in &players.others {
        let saved = other.state.save(folder, other.name).map_err(Error::other);
        let files = saved.map_err(RunError::io(folder))?;
        files.iter().try_for_each(|file| sync(file))?;
    }
    Ok(())
}

/// Sorts by clock, then by phase: at the same clock the start of the next phase comes last.
fn name(position: &Position) -> String {
    format!("{:012}-{:03}", position.clock, position.phase)
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
