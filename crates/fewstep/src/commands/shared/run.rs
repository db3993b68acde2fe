//! What `train` and `distill` share: reading a recipe, the run folder, progress.

use super::grids::SampleGrids;
use crate::error::{CliError, CliResult, IntoCliResult};
use crate::memory::MemoryArgs;
use crate::progress;
use fewstep_distill::recipe::{parse, parse_with};
use fewstep_distill::run::{Event, Run, is_run};
use fewstep_formats::{Model, write_atomically};
use fewstep_kernels::memory;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};

/// Arguments of every command that runs a recipe.
#[derive(clap::Args)]
pub(crate) struct RunArgs {
    /// The recipe, a TOML file.
    recipe: PathBuf,
    /// Folder of the run [default: runs/NAME for a recipe NAME.toml].
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Continue from the newest checkpoint in the run folder.
    #[arg(long)]
    resume: bool,
    /// Override a key of the recipe, as in --set optim.batch=64; may be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Print what the run would do and how much memory and time it would take, and stop.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) memory: MemoryArgs,
    /// Print only the memory of every option, and stop.
    #[arg(skip)]
    pub(crate) plan: bool,
}

impl RunArgs {
    /// For predicting memory only.
    pub(crate) fn to_plan(recipe: PathBuf, overrides: Vec<String>, memory: MemoryArgs) -> Self {
        Self {
            recipe,
            out: None,
            resume: false,
            overrides,
            dry_run: true,
            memory,
            plan: true,
        }
    }

    /// Reads the recipe file with its overrides.
    pub(crate) fn recipe<R: DeserializeOwned>(&self) -> CliResult<R> {
        let origin = self.recipe.display().to_string();
        let text = fewstep_data::read_text(&self.recipe)
            .map_err(|e| CliError::input(format!("the recipe: {e}")))?;
        Ok(parse_with(&text, &origin, &self.overrides)?)
    }

    /// An error in the recipe's values, which names the recipe.
    pub(crate) fn recipe_error(&self, message: String) -> CliError {
        CliError::input(format!("{}: {message}", self.recipe.display()))
    }

    /// The folder of the run.
    pub(crate) fn folder(&self) -> PathBuf {
        let name = self.recipe.file_stem().unwrap_or_default();
        self.out
            .clone()
            .unwrap_or_else(|| Path::new("runs").join(name))
    }

    /// Whether to resume.
    pub(crate) fn resume(&self) -> bool {
        self.resume
    }
}

/// Makes the run folder with the resolved recipe in it, or checks the recipe of an existing one.
pub(crate) fn prepare<R>(folder: &Path, recipe: &R, resume: bool) -> CliResult
where
    R: Serialize + DeserializeOwned,
{
    let file = folder.join("recipe.toml");
    let resolved = toml::to_string(recipe).input_error()?;
    match (is_run(folder), resume) {
        (true, false) => Err(CliError::input(format!(
            "{} already holds a run: continue it (--resume) or choose another folder (--out)",
            folder.display()
        ))),
        (true, true) => {
            // Serialised again: an older version may have had other names for keys, or fewer keys.
            let stored = std::fs::read_to_string(&file).input_error()?;
            let stored: R = parse(&stored, &file.display().to_string())?;
            let stored = toml::to_string(&stored).input_error()?;
            match stored == resolved {
                true => Ok(()),
                false => Err(CliError::input(format!(
                    "{} was started with another recipe ({}): resume a run with the seed and the settings that it was started with",
                    folder.display(),
                    first_difference(&stored, &resolved)
                ))),
            }
        }
        (false, _) => write_atomically(&file, resolved.as_bytes()).input_error(),
    }
}

fn first_difference(stored: &str, resolved: &str) -> String {
    let mut pairs = stored.lines().zip(resolved.lines());
    match pairs.find(|(a, b)| a != b) {
        Some((a, b)) => format!("it was `{a}` and is `{b}` now"),
        None => "one has more keys".into(),
    }
}

/// Runs the phases with progress bars and grids of sample images. For a model that generates from
/// prompts, the grids show these prompts, or some captions of the data.
pub(crate) fn run_phases(run: &Run, initial: Model, prompts: &[String], resume: bool) -> CliResult {
    memory::give_back();
    let mut bar = indicatif::ProgressBar::hidden();
    let mut mean = 0.0;
    let grids = SampleGrids::new(run, prompts)?;
    run.run(initial, resume, &mut |event| match event {
        Event::PhaseStarted {
            phase,
            index,
            updates,
        } => {
            let title = format!("{}/{} {}", index + 1, run.phases.len(), phase.name);
            bar = progress::bar(&title, phase.updates, "updates");
            bar.set_position(updates);
            bar.reset_eta();
            mean = 0.0;
        }
        Event::Updated { loss } => {
            bar.inc(1);
            if let Some(loss) = loss {
                mean = match mean == 0.0 {
                    true => loss,
                    false => 0.95 * mean + 0.05 * loss,
                };
                bar.set_message(format!("loss {mean:.4}"));
            }
        }
        Event::Logged(record) => {
            if bar.is_hidden() {
                tracing::info!(
                    "{} update {} loss {:.5} {:.0} samples/s",
                    record.phase,
                    record.update,
                    record.loss,
                    record.samples_per_second
                );
            }
        }
        Event::Checkpointed { updates, model } => {
            bar.suspend(|| grids.write(model, &format!("update-{updates:07}")));
        }
        Event::PhaseFinished { phase, model } => {
            bar.finish();
            grids.write(model, &phase.name);
        }
    })?;
    Ok(())
}
