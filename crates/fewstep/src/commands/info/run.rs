//! The facts about a run folder.

use super::fields::Fields;
use super::model;
use super::recipe::Plan;
use crate::error::{CliResult, IntoCliResult};
use crate::numbers::thousands;
use burn::tensor::Device;
use fewstep_diffusion::Role;
use fewstep_distill::recipe::parse;
use fewstep_distill::run::{LogRecord, Phase, checkpoints};
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
    loss: Option<f64>,
    samples_per_second: Option<f64>,
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
                .map(|p| Progress::of(p, &log, finished(p)))
                .collect(),
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
    fn of(phase: &Phase, log: &[LogRecord], finished: bool) -> Self {
        let last = log.iter().rev().find(|record| record.phase == phase.name);
        Self {
            phase: phase.name.clone(),
            updates: phase.updates,
            updates_done: last.map_or(0, |record| record.update),
            batch: phase.optim.batch,
            finished,
            loss: last.map(|record| record.loss),
            samples_per_second: last.map(|record| record.samples_per_second),
        }
    }

    fn line(&self, width: usize) -> String {
        let state = match (self.finished, self.updates_done) {
            (true, _) => "done",
            (false, 0) => "not begun",
            (false, _) => "under way",
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
