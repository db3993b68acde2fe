//! What a run is, and what happens in it.

use super::log::LogRecord;
use super::{Phase, RunError};
use crate::recipe::RunConfig;
use burn::tensor::Device;
use fewstep_data::Examples;
use fewstep_diffusion::SamplerRecipe;
use fewstep_formats::{Model, PipelineComponents};
use fewstep_world::World;
use std::ops::ControlFlow;
use std::path::PathBuf;

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
    /// The processes that train together. Only rank 0 writes.
    pub world: World,
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
    /// All that was done so far is in the run's folder, and nothing of it changes until the observer
    /// returns: after every checkpoint, with what other events led to.
    Saved,
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

    /// Refuses phases whose student never moves, or not in every window of the log: a resumed run starts
    /// a window where it goes on.
    pub(super) fn check_turns(&self) -> Result<(), RunError> {
        for phase in &self.phases {
            let turn = phase.method.turn();
            if turn.count(phase.updates) == 0 {
                return Err(RunError::Player(format!(
                    "the student moves after {} updates, and `updates` is {}: it must be more",
                    turn.after, phase.updates
                )));
            }
        }
        let log_every = self.config.log_every;
        let turns = self.phases.iter().map(|phase| phase.method.turn().every);
        match turns.max().filter(|every| *every > log_every) {
            None => Ok(()),
            Some(every) => Err(RunError::Player(format!(
                "the student moves in one of {every} updates, and `run.log_every` is {log_every}: it must be at least {every}"
            ))),
        }
    }

    /// Checks what can be checked before anything is written: the turns of players, the device, and
    /// the first phase against the model that it starts from. What later phases start from is not
    /// there yet.
    ///
    /// # Errors
    /// When the run could not begin.
    pub fn check(&self, initial: &Model) -> Result<(), RunError> {
        self.check_turns()?;
        for phase in &self.phases {
            phase.teacher_precision.check_stored(&self.device)?;
        }
        match self.phases.first() {
            Some(first) => Ok(first.method.check(initial)?),
            None => Ok(()),
        }
    }

    /// The same for a new run, whose settings must go with the model too. One that is resumed keeps
    /// those that it was started with, whatever is thought of them today.
    ///
    /// # Errors
    /// When the run could not begin, or should not with these settings.
    pub fn check_new(&self, initial: &Model) -> Result<(), RunError> {
        self.check(initial)?;
        match self.phases.first() {
            Some(first) => Ok(first.check_settings(initial)?),
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
}
