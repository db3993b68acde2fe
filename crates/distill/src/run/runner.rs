//! The loop over phases.

use super::checkpoint::{Checkpoints, Position};
use super::log::Log;
use super::phase_run::PhaseRun;
use super::resume::Start;
use super::{Ended, Event, Observer, Phase, Run, RunError, RunInputs};
use fewstep_formats::{Model, read_lora, remove_unfinished};
use std::ops::ControlFlow;
use std::path::Path;

impl Run {
    /// Refuses ranks that were started with another recipe, on other data or by another version.
    ///
    /// # Errors
    /// Names the odd rank, and what is different there.
    pub fn agree(&self, inputs: &RunInputs) -> Result<(), RunError> {
        let recipe = format!(
            "{:?} {} {} {:?}",
            self.phases, self.seed, self.flip, self.config
        );
        Ok(self.world.agree(&[
            ("version of fewstep", env!("CARGO_PKG_VERSION")),
            ("recipe", &recipe),
            ("set of training data", inputs.data()),
            ("teacher", inputs.teacher()),
        ])?)
    }

    /// Refuses ranks that see other checkpoints in the folder of the run.
    fn agree_on_start(&self, start: &Position) -> Result<(), RunError> {
        let start = format!("{start:?}");
        let what = "newest checkpoint in the run's folder (is the folder on a disk that all see?)";
        Ok(self.world.agree(&[(what, &start)])?)
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
        if !self.world.is_first() {
            return Ok(());
        }
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
        let writes = self.world.is_first();
        let checkpoints = Checkpoints::new(&self.folder, self.config.keep).writing(writes);
        let mut from = Start::default();
        if resume {
            inputs.check(&self.folder)?;
            from = self.start(&checkpoints)?;
        }
        let start = from.position;
        self.agree_on_start(&start)?;
        let mut log = None;
        if writes {
            inputs.store(&self.folder)?;
            checkpoints.remove_leftovers()?;
            for own in ["models", "samples"] {
                remove_unfinished(&self.folder.join(own));
            }
            log = Some(Log::open(&self.folder, start.clock)?);
        }
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
            current.check_equal()?;
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
            let stopped = observer(Event::Saved).is_break() || stopped.is_break();
            if let (true, Some(phase)) = (stopped, self.phases.get(next.phase)) {
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
