//! The facts about a run folder.

use super::fields::Fields;
use super::model;
use super::recipe::Plan;
use crate::error::{CliResult, IntoCliResult};
use crate::numbers::thousands;
use burn::tensor::Device;
use fewstep_diffusion::Role;
use fewstep_distill::recipe::parse;
use fewstep_distill::run::{LogRecord, Phase, RunLock, checkpoints, saved};
use fewstep_formats::Model;
use fewstep_generate::run_models;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// The facts about a run; as JSON for scripts.
#[derive(Serialize)]
pub(super) struct Facts {
    kind: &'static str,
    run: PathBuf,
    purpose: String,
    data: String,
    seed: u64,
    recipe: toml::Table,
    phases: Vec<Progress>,
    /// The process that works on it.
    owner: Option<String>,
    checkpoints: Vec<String>,
    models: Vec<Saved>,
}

/// How far a phase has come.
#[derive(Serialize)]
struct Progress {
    phase: String,
    updates: u64,
    updates_done: u64,
    batch: usize,
    finished: bool,
    #[serde(skip)]
    is_running: bool,
    loss: Option<f64>,
    samples_per_second: Option<f64>,
}

/// Whether a phase is over, is being run, or was stopped after so many updates.
enum State {
    Done,
    UnderWay,
    Stopped(u64),
}

/// The model of a finished phase.
#[derive(Serialize)]
struct Saved {
    path: PathBuf,
    role: Role,
    weights_hash: String,
}

impl Facts {
    pub(super) fn gather(folder: &Path, device: &Device) -> CliResult<Self> {
        let file = folder.join("recipe.toml");
        let origin = file.display().to_string();
        let text = fewstep_data::read_text(&file).input_error()?;
        let recipe: toml::Table = parse(&text, &origin).input_error()?;
        let plan = Plan::read(&text, &origin)?;
        let log = read_log(folder);
        let models = read_models(folder, device)?;
        let finished = |phase: &Phase| models.iter().any(|saved| saved.path.ends_with(&phase.name));
        let owner = RunLock::owner(folder);
        let saved = updates_saved(folder, &plan.phases);
        let state = |index: usize, phase: &Phase| match (finished(phase), &owner, saved) {
            (true, ..) => State::Done,
            (false, Some(_), _) => State::UnderWay,
            (false, None, Some((at, updates))) if at == index => State::Stopped(updates),
            (false, None, _) => State::Stopped(0),
        };
        Ok(Self {
            kind: "run",
            run: folder.into(),
            data: plan.data(),
            purpose: plan.purpose,
            seed: plan.seed,
            recipe,
            phases: plan
                .phases
                .iter()
                .enumerate()
                .map(|(index, phase)| Progress::of(phase, &log, &state(index, phase)))
                .collect(),
            owner,
            checkpoints: checkpoints(folder),
            models,
        })
    }

    pub(super) fn fields(&self) -> Fields {
        let mut fields = Fields::default();
        fields.add("Run", self.run.display().to_string());
        fields.add("Purpose", &*self.purpose);
        fields.add("Data", &*self.data);
        fields.add("Seed", self.seed.to_string());
        let width = self.phases.iter().map(|p| p.phase.len()).max().unwrap_or(0);
        fields.add_all("Phases", self.phases.iter().map(|phase| phase.line(width)));
        fields.add(
            "Checkpoints",
            match self.checkpoints.last() {
                None => "none".to_string(),
                Some(newest) => format!("{}, newest {newest}", self.checkpoints.len()),
            },
        );
        if let Some(owner) = &self.owner {
            fields.add("Running", owner.as_str());
        } else if self.phases.iter().any(|phase| !phase.finished) {
            fields.add("Not finished", "the same command with --resume goes on");
        }
        fields.add_all(
            "Models",
            match self.models.is_empty() {
                true => vec!["none yet".into()],
                false => self.models.iter().map(Saved::line).collect(),
            },
        );
        fields
    }
}

impl Progress {
    fn of(phase: &Phase, log: &[LogRecord], state: &State) -> Self {
        let most = match *state {
            State::Done | State::UnderWay => phase.updates,
            State::Stopped(updates) => updates,
        };
        // What was logged after the checkpoint that a stopped run goes on from will come again.
        let records = log.iter().rev();
        let mut records = records.filter(|record| record.phase == phase.name);
        let last = records.find(|record| record.update <= most);
        Self {
            phase: phase.name.clone(),
            updates: phase.updates,
            updates_done: match *state {
                State::Done => phase.updates,
                State::UnderWay => last.map_or(0, |record| record.update),
                State::Stopped(updates) => updates,
            },
            batch: phase.optim.batch,
            finished: matches!(state, State::Done),
            is_running: matches!(state, State::UnderWay),
            loss: last.map(|record| record.loss),
            samples_per_second: last.map(|record| record.samples_per_second),
        }
    }

    fn line(&self, width: usize) -> String {
        let state = match (self.finished, self.updates_done, self.is_running) {
            (true, ..) => "done",
            (false, 0, _) => "not begun",
            (false, _, true) => "under way",
            (false, _, false) => "stopped",
        };
        let measured = match (self.loss, self.samples_per_second) {
            (Some(loss), Some(rate)) => format!("; loss {loss:.4}, {rate:.0} samples/s"),
            _ => String::new(),
        };
        format!(
            "{:width$}  {state}: {} of {} updates of {} samples{measured}",
            self.phase,
            thousands(self.updates_done),
            thousands(self.updates),
            self.batch
        )
    }
}

impl Saved {
    fn line(&self) -> String {
        format!(
            "{} ({}; hash {})",
            self.path.display(),
            model::role(&self.role),
            self.weights_hash
        )
    }
}

/// The phase of the newest checkpoint, counted from 0, and the updates of it that are in it.
fn updates_saved(folder: &Path, phases: &[Phase]) -> Option<(usize, u64)> {
    let (clock, index) = saved(folder)?;
    let before: u64 = phases.iter().take(index).map(Phase::samples).sum();
    let batch = phases.get(index)?.optim.batch.max(1) as u64;
    Some((index, clock.saturating_sub(before) / batch))
}

/// The complete lines of the log; the last one may be incomplete.
fn read_log(folder: &Path) -> Vec<LogRecord> {
    let text = std::fs::read_to_string(folder.join("metrics.jsonl")).unwrap_or_default();
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

fn read_models(folder: &Path, device: &Device) -> CliResult<Vec<Saved>> {
    let folder = folder.join("models");
    if !folder.is_dir() {
        return Ok(vec![]);
    }
    let load = |path: PathBuf| {
        let model = Model::load(&path, device).input_error()?;
        Ok(Saved {
            weights_hash: model.weights_hash(),
            role: model.recipe.role,
            path,
        })
    };
    run_models(&folder)?.into_iter().map(load).collect()
}
