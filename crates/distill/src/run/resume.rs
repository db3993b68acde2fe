//! Where a run goes on, and what of its phases may be other then.

use super::checkpoint::{Checkpoints, Position};
use super::{Phase, Run, RunError};
use fewstep_diffusion::Network;
use fewstep_formats::Model;
use fewstep_kernels::device::Placement;
use std::path::PathBuf;

/// A phase that is resumed with another number of updates.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangedUpdates {
    /// Its name.
    pub phase: String,
    /// Updates that are done.
    pub done: u64,
    /// The number of updates before, and now.
    pub updates: [u64; 2],
    /// The learning rate of the last update, and of the next one now, where the rates of the updates
    /// that are done depend on their number.
    pub lr: Option<[f64; 2]>,
}

/// Where a run goes on; at first at the beginning.
#[derive(Default)]
pub(super) struct Start {
    pub(super) position: Position,
    /// The checkpoint with the players of the phase; none at its beginning.
    pub(super) players: Option<PathBuf>,
}

impl Run {
    /// Checks the phases of a run that is resumed against those that it was started with, which
    /// have the same names. Returns those with other numbers of updates.
    ///
    /// # Errors
    /// Other updates of a phase that is done and others go on from, fewer than are done, and
    /// micro-batches that change the result.
    pub fn check_resumed(
        &self,
        before: &[Phase],
        initial: &Model,
    ) -> Result<Vec<ChangedUpdates>, RunError> {
        let newest = Checkpoints::new(&self.folder, self.config.keep).newest()?;
        let position = newest.map_or(Position::default(), |(position, _)| position);
        let mut changed = vec![];
        for (index, (before, now)) in before.iter().zip(&self.phases).enumerate() {
            self.check_sums(before, now, initial)?;
            if before.updates == now.updates {
                continue;
            }
            let is_last = index + 1 == self.phases.len();
            let done = match position.phase {
                phase if phase == index => position.updates,
                phase if phase > index => before.updates,
                _ => 0,
            };
            if position.phase > index && !is_last {
                return Err(RunError::NotResumable(format!(
                    "phase `{}` is done with {} updates, and later phases started from its model: it cannot have {} now",
                    now.name, before.updates, now.updates
                )));
            }
            if now.updates < done {
                return Err(RunError::NotResumable(format!(
                    "phase `{}` has done {done} updates already: it cannot have {} now",
                    now.name, now.updates
                )));
            }
            let last = done.saturating_sub(1);
            let depends = done > 0 && before.lr_of(last) != now.lr_of(last);
            changed.push(ChangedUpdates {
                phase: now.name.clone(),
                done,
                updates: [before.updates, now.updates],
                lr: depends.then(|| [before.lr_of(last), now.lr_of(done)]),
            });
        }
        Ok(changed)
    }

    /// Refuses micro-batches with which a batch goes through the network in other parts, whose
    /// gradients are then added up in another order, or with other dropout.
    fn check_sums(&self, before: &Phase, now: &Phase, initial: &Model) -> Result<(), RunError> {
        let [old, new] = [before, now].map(|phase| phase.optim.micro_batch());
        let placement = Placement::of(&self.device);
        let parts = |micro: usize| {
            let (micro, part) = (micro.max(1), placement.part(micro).max(1));
            let of_micro = move |_| (0..micro).step_by(part).map(move |at| part.min(micro - at));
            (0..now.optim.batch / micro).flat_map(of_micro)
        };
        // On a GPU, which rounds in an order of its own, nothing is lost.
        let same = placement.has_own_memory() || parts(old).eq(parts(new));
        match old == new || same && !initial.network.has_dropout() {
            true => Ok(()),
            false => Err(RunError::NotResumable(format!(
                "phase `{}` was started with micro-batches of {old}, and {new} would give other sums{}: keep `micro_batch`",
                now.name,
                match same {
                    true => ", since its network has dropout",
                    false => "",
                }
            ))),
        }
    }

    /// Where the run goes on from its newest checkpoint. One that is done goes on in its last phase, where that has more
    /// updates now.
    pub(super) fn start(&self, checkpoints: &Checkpoints) -> Result<Start, RunError> {
        let Some((position, path)) = checkpoints.newest()? else {
            return Ok(Start::default());
        };
        let (count, last) = (self.phases.len(), self.phases.last());
        let Some(last) = last.filter(|_| position.phase == count) else {
            let players = (position.updates > 0).then_some(path);
            return Ok(Start { position, players });
        };
        let before: u64 = self.phases[..count - 1].iter().map(Phase::samples).sum();
        let done = position.clock.saturating_sub(before) / last.optim.batch as u64;
        if done >= last.updates {
            return Ok(Start {
                position,
                players: None,
            });
        }
        if Checkpoints::has_players(&path) {
            return Ok(Start {
                position: Position {
                    phase: count - 1,
                    updates: done,
                    clock: position.clock,
                },
                players: Some(path),
            });
        }
        // An earlier version, which kept no players at the end.
        let (position, path) = checkpoints.newest_within(count - 1)?.ok_or_else(|| {
            RunError::NotResumable(format!(
                "phase `{}` is done, and no checkpoint has the state of its optimiser: it cannot have more updates",
                last.name
            ))
        })?;
        Ok(Start {
            position,
            players: Some(path),
        })
    }
}
