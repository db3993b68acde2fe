//! What `train` and `distill` share: reading a recipe, progress.

use super::grids::SampleGrids;
use super::interrupt::Interrupt;
use super::mirror::Mirror;
use super::plan_ranks::RanksArgs;
use super::recipe_kind::{Command, RecipeKind, wrong_method};
use super::run_folder::{RunFolder, check_apart, check_occupied};
use crate::compute;
use crate::error::{CliError, CliResult, IntoCliResult};
use crate::memory::MemoryArgs;
use crate::processes::ProcessArgs;
use crate::storage::is_url;
use crate::{progress, recipes};
use burn::tensor::Device;
use fewstep_data::DataConfig;
use fewstep_distill::World;
use fewstep_distill::recipe::{RunConfig, parse_with};
use fewstep_distill::run::{Event, Run, RunInputs};
use fewstep_formats::Model;
use fewstep_kernels::device::DeviceName;
use fewstep_kernels::memory;
use fewstep_nn::{Backbone, LoraConfig};
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
    #[command(flatten)]
    pub(crate) processes: ProcessArgs,
    /// Print only the memory of every option, and stop.
    #[arg(skip)]
    pub(crate) plan: bool,
    /// Plan for a GPU with this much memory, which may be elsewhere.
    #[arg(skip)]
    pub(crate) gpu_memory: Option<u64>,
    /// Plan for several processes.
    #[arg(skip)]
    pub(crate) ranks: Option<RanksArgs>,
}

impl RunArgs {
    /// For predicting memory only.
    pub(crate) fn to_plan(
        recipe: PathBuf,
        overrides: Vec<String>,
        memory: MemoryArgs,
        gpu_memory: Option<u64>,
        ranks: Option<RanksArgs>,
    ) -> Self {
        Self {
            recipe,
            out: None,
            resume: false,
            overrides,
            dry_run: true,
            memory,
            processes: ProcessArgs::default(),
            plan: true,
            gpu_memory,
            ranks,
        }
    }

    /// The device of the run. A plan for a GPU that may be elsewhere needs none.
    pub(crate) fn device(&self, config: &RunConfig, world: &World) -> CliResult<Device> {
        match self.gpu_memory {
            Some(_) => DeviceName::Cpu.open().input_error(),
            None => compute::device_of_run(config, world),
        }
    }

    /// Reads the recipe file with its overrides.
    pub(crate) fn recipe<R: DeserializeOwned>(&self) -> CliResult<R> {
        let origin = self.recipe.display().to_string();
        let text = fewstep_data::read_text(&self.recipe)
            .map_err(|e| CliError::input(format!("the recipe: {e}{}", built_in(&origin))))?;
        Ok(parse_with(&text, &origin, &self.overrides)?)
    }

    /// Refuses a recipe that is for another of the two commands.
    pub(crate) fn check_command(&self, command: Command) -> CliResult {
        let keys: toml::Table = self.recipe()?;
        let recipe = self.recipe.display();
        match RecipeKind::of(&keys).map(RecipeKind::command) {
            Some(other) if other != command => {
                let other = other.name();
                Err(CliError::input(format!(
                    "{recipe} is a recipe for `fewstep {other}`: run `fewstep {other} {recipe}`"
                )))
            }
            _ => Ok(()),
        }
    }

    /// What a recipe that distils is for.
    pub(crate) fn distillation(&self) -> CliResult<RecipeKind> {
        let keys = self.recipe()?;
        match wrong_method(&keys) {
            None => Ok(RecipeKind::of_distillation(&keys)),
            Some(wrong) => Err(self.recipe_error(wrong)),
        }
    }

    /// An error in the recipe's values, which names the recipe.
    pub(crate) fn recipe_error(&self, message: String) -> CliError {
        CliError::input(format!("{}: {message}", self.recipe.display()))
    }

    /// Refuses LoRA that one of these networks cannot have.
    pub(crate) fn check_lora(
        &self,
        lora: Option<&LoraConfig>,
        networks: &[&Backbone],
    ) -> CliResult {
        let Some(lora) = lora else {
            return Ok(());
        };
        networks.iter().try_for_each(|&network| {
            let fits = network.clone().with_lora(lora, 0);
            fits.map(drop)
                .map_err(|error| self.recipe_error(error.to_string()))
        })
    }

    /// The folder of the run.
    pub(crate) fn folder(&self) -> PathBuf {
        let name = self.recipe.file_stem().unwrap_or_default();
        self.out
            .clone()
            .unwrap_or_else(|| Path::new("runs").join(name))
    }

    /// Takes the folder of the run; none for a dry run.
    pub(crate) fn open_folder(
        &self,
        data: &DataConfig,
        config: &RunConfig,
        world: &World,
    ) -> CliResult<Option<RunFolder>> {
        if is_url(&self.folder()) {
            return Err(CliError::input(format!(
                "a run works in a folder of this machine, and {} is none: give its path with --out. `run.mirror` keeps a copy in object storage",
                self.folder().display()
            )));
        }
        if self.dry_run {
            if self.resume {
                check_occupied(&self.folder(), true)?;
            }
            return Ok(None);
        }
        check_apart(&self.folder(), data)?;
        let mirror = config.mirror.as_deref();
        RunFolder::open(&self.folder(), self.resume, mirror, world).map(Some)
    }
}

/// Runs the phases with progress bars and grids of sample images. For a model that generates from
/// prompts, the grids show these prompts, or some captions of the data.
pub(crate) fn run_phases(
    run: &Run,
    (initial, inputs): (Model, &RunInputs),
    prompts: &[String],
    folder: &mut RunFolder,
) -> CliResult {
    let mut mirror = folder.take_mirror();
    memory::give_back();
    let mut bar = indicatif::ProgressBar::hidden();
    let mut mean = 0.0;
    let grids = match run.world.is_first() {
        true => Some(SampleGrids::new(run, prompts)?),
        false => None,
    };
    let write_grid = |model: &Model, name: &str| {
        if let Some(grids) = &grids {
            grids.write(model, name);
        }
    };
    let interrupt = Interrupt::watch()?;
    let mut show = |event: Event<'_>| {
        if let Some(warning) = mirror.as_mut().and_then(|mirror| mirror.after(&event)) {
            bar.suspend(|| eprintln!("{warning}"));
        }
        match event {
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
                bar.suspend(|| write_grid(model, &format!("update-{updates:07}")));
            }
            Event::PhaseFinished { phase, model } => {
                bar.finish();
                write_grid(model, &phase.name);
            }
            Event::Saved => {}
        }
    };
    let ended = run.run(initial, inputs, folder.resume(), &mut |event| {
        show(event);
        interrupt.flow()
    });
    if !bar.is_finished() {
        bar.abandon();
    }
    let all = (&run.world, ended.is_ok());
    let ended = ended.map_err(CliError::from);
    let ended = ended.and_then(|ended| interrupt.result(ended));
    Mirror::finish(mirror, all, ended)
}

/// Where a recipe that is not there may be found.
fn built_in(name: &str) -> String {
    match recipes::find(name) {
        Ok(recipe) => format!(
            ". `fewstep recipe {} --out FILE` writes the built-in recipe of this name",
            recipe.name
        ),
        Err(_) => String::new(),
    }
}
