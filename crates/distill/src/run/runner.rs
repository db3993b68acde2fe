//! The loop over phases.

use super::checkpoint::{Checkpoints, Position};
use super::log::{Log, LogRecord};
use super::phase_run::PhaseRun;
use super::resume::Start;
use super::{Phase, RunError, RunInputs};
use crate::recipe::RunConfig;
use burn::tensor::Device;
use fewstep_data::Examples;
use fewstep_diffusion::SamplerRecipe;
use fewstep_formats::{Model, PipelineComponents, read_lora, remove_unfinished};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// Phases to run in a folder.
pub struct Run {
    /// Where everything goes.
    pub folder: PathBuf,
    /// All randomness.
    pub seed: u64,
    /// What to do, in order.
    pub phases: Vec<Phase>,
    /// Training examples.
    pub examples: Examples,
    /// VAE and text encoder of a network that works on latents: every model of the run is saved
    /// with them.
    pub components: Option<PipelineComponents>,
    /// Whether they are mirrored at random.
    pub flip: bool,
    /// How to report and save.
    pub config: RunConfig,
    /// Where to compute.
    pub device: Device,
}

/// What happens during a run.
pub enum Event<'a> {
    /// A phase starts, or is taken up again.
    PhaseStarted {
        /// Which.
        phase: &'a Phase,
        /// Its number, from 0.
        index: usize,
        /// Updates already done.
        updates: u64,
    },
    /// An update is done.
    Updated {
        /// The student's loss, of this update or of its last turn; none before its first turn since
        /// the run was started or resumed.
        loss: Option<f64>,
    },
    /// A line was logged.
    Logged(&'a LogRecord),
    /// A checkpoint was written.
    Checkpointed {
        /// Updates of the phase so far.
        updates: u64,
        /// The model as it is now.
        model: &'a Model,
    },
    /// A phase is done and its model saved.
    PhaseFinished {
        /// Which.
        phase: &'a Phase,
        /// What came out.
        model: &'a Model,
    },
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All phases are done.
    Done,
    /// The observer stopped it.
    Stopped {
        /// The phase that it goes on with.
        phase: String,
        /// Updates of the phase so far.
        updates: u64,
        /// The checkpoint to go on from.
        checkpoint: PathBuf,
    },
}

/// What sees every [`Event`] of a run. When it breaks, the run stops after a checkpoint.
pub type Observer<'a> = &'a mut dyn FnMut(Event<'_>) -> ControlFlow<()>;

impl Run {
    /// The sampler recipe of the model that comes out of a phase at this time.
    pub(super) fn recipe(&self, phase: &Phase, base: &Model, clock: u64) -> SamplerRecipe {
        let mut recipe = base.recipe.clone();
        let made = &mut recipe.provenance;
        made.samples_seen = clock;
        made.seed = self.seed;
        made.data = format!("{} {}", self.examples.name(), self.examples.fingerprint());
        made.program = concat!("fewstep ", env!("CARGO_PKG_VERSION")).into();
        made.method = phase.method.name().into();
        phase.method.result(&mut recipe);
        recipe
    }

    /// Checks all that can be checked before a new run makes its folder. What later phases start
    /// from is not there yet.
    ///
    /// # Errors
    /// When the first phase cannot start from this model, its settings do not go with it, or a
    /// student moves too seldom.
    pub fn check_new(&self, initial: &Model) -> Result<(), RunError> {
        self.check_turns()?;
        match self.phases.first() {
            Some(phase) => Ok(phase.check_new(initial)?),
            None => Ok(()),
        }
    }

    /// Refuses phases whose student does not move in every window of the log: a resumed run starts
    /// a window where it goes on.
    fn check_turns(&self) -> Result<(), RunError> {
        let log_every = self.config.log_every;
        let turns = self.phases.iter().map(|phase| phase.method.turn().every);
        match turns.max().filter(|every| *every > log_every) {
            None => Ok(()),
            Some(every) => Err(RunError::Player(format!(
                "the student moves in one of {every} updates, and `run.log_every` is {log_every}: it must be at least {every}"
            ))),
        }
    }

    /// Checks what can be checked before anything is written: the turns of players, and the first
    /// phase against the model that it starts from.
    ///
    /// # Errors
    /// When the run could not begin.
    pub fn check(&self, initial: &Model) -> Result<(), RunError> {
        self.check_turns()?;
        match self.phases.first() {
            Some(first) => Ok(first.method.check(initial)?),
            None => Ok(()),
        }
    }

    /// Where the model of a phase is saved.
    pub fn model_folder(&self, phase: &Phase) -> PathBuf {
        self.folder.join("models").join(&phase.name)
    }

    /// The model of a finished phase.
    ///
    /// # Errors
    /// When its folder is not there or damaged.
    pub fn model(&self, phase: &Phase) -> Result<Model, RunError> {
        Ok(Model::load(&self.model_folder(phase), &self.device)?)
    }

    /// The model of a finished phase, for the next one. Its folder has LoRA both in the weights and
    /// as files of their own: what goes on is the model before with LoRA.
    fn finished(&self, phase: &Phase, base: &Model) -> Result<Model, RunError> {
        let stored = self.model(phase)?;
        match phase.lora {
            None => Ok(stored),
            Some(_) => Ok(Model {
                network: read_lora(&self.model_folder(phase), phase.student(base, self.seed)?)?,
                recipe: stored.recipe,
            }),
        }
    }

    fn save(&self, model: &Model, phase: &Phase) -> Result<(), RunError> {
        let folder = self.model_folder(phase);
        match &self.components {
            Some(components) => components.save_pipeline(model, &folder)?,
            None => model.save(&folder)?,
        }
        Ok(())
    }

    /// Runs all phases from `initial` (the teacher, or a fresh network), from the newest checkpoint
    /// when resuming. The model of each phase is then in its folder; only what the next phase needs
    /// stays in memory.
    ///
    /// `inputs` are [`Run::inputs`] of `initial`; they are stored in the folder, and a resumed run
    /// must have the same. The caller keeps other processes away with a [`RunLock`](super::RunLock).
    ///
    /// # Errors
    /// See [`RunError`]; what was saved before stays as it is.
    pub fn run(
        &self,
        initial: Model,
        inputs: &RunInputs,
        resume: bool,
        observer: Observer<'_>,
    ) -> Result<Ended, RunError> {
        self.check_turns()?;
        let checkpoints = Checkpoints::new(&self.folder, self.config.keep);
        let mut from = Start::default();
        if resume {
            inputs.check(&self.folder)?;
            from = self.start(&checkpoints)?;
        }
        inputs.store(&self.folder)?;
        checkpoints.remove_leftovers()?;
        for own in ["models", "samples"] {
            remove_unfinished(&self.folder.join(own));
        }
        let start = from.position;
        let mut log = Log::open(&self.folder, start.clock)?;
        let mut base = initial;
        for phase in &self.phases[..start.phase.min(self.phases.len())] {
            base = self.finished(phase, &base)?;
        }
        let mut clock = start.clock;
        for (index, phase) in self.phases.iter().enumerate().skip(start.phase) {
            let mut current = PhaseRun::new(self, index, phase, base, clock)?;
            if phase.method.has_teacher() {
                current.recipe.provenance.teacher = inputs.teacher().into();
            }
            if let Some(path) = from.players.take() {
                current.restore(&path, &start)?;
            }
            if let ControlFlow::Break(ended) = current.train(&checkpoints, &mut log, observer)? {
                return Ok(ended);
            }
            clock = current.clock;
            let model = current.model();
            self.save(&model, phase)?;
            let next = Position {
                phase: index + 1,
                updates: 0,
                clock,
            };
            // The last phase may have more updates one day. What an earlier one kept for its next
            // update is of no use to the next phase.
            let is_last = next.phase == self.phases.len();
            let saved = checkpoints.save(&next, is_last.then(|| current.state()))?;
            drop(current);
            self.device.memory_cleanup();
            let stopped = observer(Event::PhaseFinished {
                phase,
                model: &model,
            });
            if let (ControlFlow::Break(()), Some(phase)) = (stopped, self.phases.get(next.phase)) {
                return Ok(Ended::Stopped {
                    phase: phase.name.clone(),
                    updates: 0,
                    checkpoint: saved,
                });
            }
            base = model;
        }
        Ok(Ended::Done)
    }
}

/// Whether a folder holds a run already.
pub fn is_run(folder: &Path) -> bool {
    folder.join("recipe.toml").is_file()
}
