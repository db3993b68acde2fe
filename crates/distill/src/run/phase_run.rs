//! The loop over the updates of a phase.

use super::batch::to_device;
use super::checkpoint::{Checkpoints, Position, State};
use super::log::{Log, Window};
use super::players::{Diverged, Players, RoundError};
use super::share::share;
use super::{Ended, Event, Observer, Phase, Run, RunError};
use crate::method::Batch;
use fewstep_data::{HostBatch, Loader};
use fewstep_diffusion::SamplerRecipe;
use fewstep_formats::Model;
use fewstep_kernels::device::Placement;
use std::ops::ControlFlow;
use std::path::Path;

/// One phase under way.
pub(super) struct PhaseRun<'a> {
    run: &'a Run,
    index: usize,
    phase: &'a Phase,
    players: Players,
    pub(super) recipe: SamplerRecipe,
    pub(super) clock: u64,
    window: Window,
}

impl<'a> PhaseRun<'a> {
    /// The phase at its beginning, with the model before it.
    pub(super) fn new(
        run: &'a Run,
        index: usize,
        phase: &'a Phase,
        base: Model,
        clock: u64,
    ) -> Result<Self, RunError> {
        let start: u64 = run.phases[..index].iter().map(Phase::samples).sum();
        let base = Model {
            network: base.network.computing_in(run.config.precision),
            ..base
        };
        let recipe = run.recipe(phase, &base, start + phase.samples());
        let student = phase.student(&base, run.seed)?;
        Ok(Self {
            run,
            index,
            phase,
            players: Players::new(phase, &base, student, run.seed, &run.world)?,
            recipe,
            clock,
            window: Window::new(),
        })
    }

    /// Takes the phase up where a checkpoint left it.
    pub(super) fn restore(&mut self, path: &Path, position: &Position) -> Result<(), RunError> {
        let on = (&self.run.device, self.run.config.precision);
        Checkpoints::restore(path, position, &mut self.players, on)?;
        self.window = Checkpoints::window(path)?;
        Ok(())
    }

    /// What the phase goes on from.
    pub(super) fn state(&self) -> State<'_> {
        State {
            players: &self.players,
            recipe: &self.recipe,
            window: &self.window,
        }
    }

    /// All updates that are left, unless the observer breaks.
    pub(super) fn train(
        &mut self,
        checkpoints: &Checkpoints,
        log: &mut Option<Log>,
        observer: Observer<'_>,
    ) -> Result<ControlFlow<Ended>, RunError> {
        let mut stopped = observer(Event::PhaseStarted {
            phase: self.phase,
            index: self.index,
            updates: self.players.updates(),
        })
        .is_break();
        let optim = &self.phase.optim;
        let world = &self.run.world;
        let placement = Placement::of(&self.run.device);
        let pieces = share(self.phase, &placement, self.players.have_dropout(), world)?;
        let of_update = pieces.clone();
        let (start, batch) = (self.clock, optim.batch as u64);
        let updates = 0..self.phase.updates - self.players.updates();
        let of_updates = updates.flat_map(move |update| {
            let clock = start + update * batch;
            let pieces = of_update.clone().into_iter();
            pieces.map(move |(at, count)| (clock + at as u64, count))
        });
        let mut loader = Loader::of_pieces(
            self.run.examples.clone(),
            self.run.seed,
            self.run.flip,
            of_updates,
        );
        let config = self.run.config;
        let mut loss = None;
        while self.players.updates() < self.phase.updates {
            let host = loader.by_ref().take(pieces.len());
            let host: Vec<HostBatch> = host.collect::<Result<_, _>>()?;
            let batches: Vec<Batch> = host
                .iter()
                .map(|b| to_device(b, self.clock, &self.run.device))
                .collect();
            let round =
                self.players
                    .update(&batches, self.run.seed)
                    .map_err(|error| match error {
                        RoundError::Diverged(diverged) => {
                            self.not_finite(diverged, checkpoints, &host)
                        }
                        RoundError::World(error) => RunError::World(error),
                    })?;
            self.clock += optim.batch as u64;
            self.window.add(&round, optim.batch as u64);
            loss = round.student.map(|report| report.loss).or(loss);
            stopped |= observer(Event::Updated { loss }).is_break();
            let updates = self.players.updates();
            let is_last = updates == self.phase.updates;
            let due = updates.is_multiple_of(config.log_every) || is_last;
            if due && self.window.has_student() {
                let closed = std::mem::replace(&mut self.window, Window::new());
                let record = closed.close(&self.phase.name, updates, self.clock);
                log.as_mut().map_or(Ok(()), |log| log.write(&record))?;
                stopped |= observer(Event::Logged(&record)).is_break();
            }
            stopped = self.run.world.any(stopped)?;
            let due = updates.is_multiple_of(config.checkpoint_every);
            if (due || stopped) && !is_last {
                let position = Position {
                    phase: self.index,
                    updates,
                    clock: self.clock,
                };
                self.check_equal()?;
                let checkpoint = checkpoints.save(&position, Some(self.state()))?;
                if stopped {
                    return Ok(ControlFlow::Break(Ended::Stopped {
                        phase: self.phase.name.clone(),
                        updates,
                        checkpoint,
                    }));
                }
                let model = self.model();
                stopped |= observer(Event::Checkpointed {
                    updates,
                    model: &model,
                })
                .is_break();
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Refuses to go on when another rank has other parameters.
    pub(super) fn check_equal(&self) -> Result<(), RunError> {
        match self.run.world.is_single() {
            true => Ok(()),
            false => Ok(self.run.world.check_equal(self.players.digest())?),
        }
    }

    /// The student as it is now.
    pub(super) fn model(&self) -> Model {
        Model {
            network: self.players.student.result(),
            recipe: self.recipe.clone(),
        }
    }

    fn not_finite(
        &self,
        Diverged { player, source }: Diverged,
        checkpoints: &Checkpoints,
        batches: &[HostBatch],
    ) -> RunError {
        let indices: Vec<u64> = batches.iter().flat_map(|b| b.indices.clone()).collect();
        let last_good = match checkpoints.newest() {
            Ok(Some((_, path))) => format!("The last good checkpoint is {}", path.display()),
            _ => "There is no checkpoint yet".into(),
        };
        RunError::NotFinite {
            phase: match player {
                None => self.phase.name.clone(),
                Some(player) => format!("{}/{player}", self.phase.name),
            },
            source,
            last_good: format!(
                "Images in the batch: {indices:?}. {last_good}; nothing that was saved has been changed. A lower learning rate is the usual remedy"
            ),
        }
    }
}
