//! The loop over the updates of a phase.

use super::checkpoint::{Checkpoints, Position, State};
use super::feed::Feed;
use super::log::{Log, Window};
use super::players::{Diverged, Players, RoundError};
use super::share::share;
use super::{Ended, Event, Observer, Phase, Run, RunError};
use fewstep_data::Loader;
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
        let network = base.network.computing_in(run.config.precision);
        let base = Model {
            network: network.with_weight_dtype(phase.stored_precision()),
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
        let stored = self.phase.stored_precision();
        let on = (&self.run.device, self.run.config.precision, stored);
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
        let (start, batch, parts) = (self.clock, optim.batch as u64, pieces.len());
        let updates = 0..self.phase.updates - self.players.updates();
        let of_updates = updates.flat_map(move |update| {
            let clock = start + update * batch;
            let pieces = pieces.clone().into_iter();
            pieces.map(move |(at, count)| (clock + at as u64, count))
        });
        let loader = Loader::of_pieces(
            self.run.examples.clone(),
            self.run.seed,
            self.run.flip,
            of_updates,
        );
        let mut feed = Feed::new(loader, &self.run.device, parts, optim.batch, self.clock);
        let config = &self.run.config;
        let (mut loss, mut first) = (None, true);
        while self.players.updates() < self.phase.updates {
            let fed = feed.take()?;
            let updated = self
                .players
                .update(&fed.batches, self.run.seed, &mut || feed.load_ahead());
            let round = updated.map_err(|error| match error {
                RoundError::Diverged(diverged) => {
                    self.not_finite(diverged, checkpoints, &fed.indices)
                }
                RoundError::World(error) => RunError::World(error),
            })?;
            self.clock += optim.batch as u64;
            if first {
                // The first update leaves other parameters than those that were loaded.
                self.run.device.memory_cleanup();
                first = false;
            }
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
                    let _ = observer(Event::Saved);
                    return Ok(ControlFlow::Break(Ended::Stopped {
                        phase: self.phase.name.clone(),
                        updates,
                        checkpoint,
                    }));
                }
                // What updates keep for the next one makes room for generating, and the reverse.
                self.run.device.memory_cleanup();
                let model = self.model();
                stopped |= observer(Event::Checkpointed {
                    updates,
                    model: &model,
                })
                .is_break();
                self.run.device.memory_cleanup();
                stopped |= observer(Event::Saved).is_break();
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
        indices: &[u64],
    ) -> RunError {
        let last_good = match checkpoints.newest() {
            Ok(Some((_, path))) => {
                format!("the newest checkpoint, {}, is from before", path.display())
            }
            _ => "there is no checkpoint yet".into(),
        };
        let change = match player {
            None => {
                let key = self.phase.optim_key;
                format!("a lower `{key}.lr` or a smaller `{key}.clip`")
            }
            Some(player) => format!("a lower learning rate of the {player}"),
        };
        RunError::NotFinite {
            phase: match player {
                None => self.phase.name.clone(),
                Some(player) => format!("{}/{player}", self.phase.name),
            },
            source,
            last_good: format!(
                "Images in the batch: {indices:?}. Nothing that was saved has been changed: {last_good}. Going on with the same recipe ends at the same place: start again in another folder, or in this one once it is deleted, with {change}"
            ),
        }
    }
}
