//! Players other than the student: networks with parameters, an optimiser and a turn of their own.

use super::Objective;
use crate::optim::{OptimConfig, PlayerState, Stepper};
use burn::module::Module;
use fewstep_diffusion::{DiffusionModel, Network};

/// In which updates of a phase a player moves: after so many in which the others have a head start, in
/// every so many, the first included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Updates from one turn to the next, at least 1.
    pub every: u64,
    /// Updates before the first turn.
    pub after: u64,
}

impl Default for Turn {
    fn default() -> Self {
        Self::every(1)
    }
}

impl Turn {
    /// One in so many updates, from the first.
    pub const fn every(every: u64) -> Self {
        Self { every, after: 0 }
    }

    /// Whether the player moves in an update, counted from 0.
    pub(crate) fn is_at(self, update: u64) -> bool {
        let since = update.checked_sub(self.after);
        since.is_some_and(|since| since.is_multiple_of(self.every.max(1)))
    }

    /// How many times it moves in the first so many updates.
    pub(crate) fn count(self, updates: u64) -> u64 {
        updates
            .saturating_sub(self.after)
            .div_ceil(self.every.max(1))
    }
}

/// A network that is trained together with the student, such as a fake-score network or a
/// discriminator.
///
/// It may be of any type that is a [`Network`]. A checkpoint holds its parameters, their average
/// and the state of its optimiser, in files that begin with its name.
pub struct Player {
    pub(crate) name: &'static str,
    pub(crate) optim: OptimConfig,
    pub(crate) turn: Turn,
    pub(crate) objective: Box<dyn Objective>,
    parameters: usize,
    start: Box<Start>,
}

type Start = dyn FnOnce(OptimConfig, u64) -> Box<dyn PlayerState>;

impl Player {
    /// A player that starts from this model and moves in every update.
    ///
    /// `optim` says how it moves. The batches are those of the phase, whatever sizes it has, and so
    /// is what is kept for the backward pass. The objective sees the player's own network as its
    /// [`Student`](super::Student), and the student and all further players as the others.
    ///
    /// Files in checkpoints begin with the name: lowercase letters, digits and hyphens. The model
    /// of a network that is no denoiser, such as a discriminator, should have the prediction V:
    /// then `predict(...).v()` is the network's output.
    pub fn new<N: Module + Network + 'static>(
        name: &'static str,
        model: DiffusionModel<N>,
        optim: OptimConfig,
        objective: Box<dyn Objective>,
    ) -> Self {
        let all = model.network.num_params();
        Self::training(name, (model, |network| network, all), optim, objective)
    }

    /// The same, of whose network only a part of so many parameters moves: `part` freezes the rest.
    pub(super) fn training<N: Module + Network + 'static>(
        name: &'static str,
        (model, part, parameters): (DiffusionModel<N>, fn(N) -> N, usize),
        optim: OptimConfig,
        objective: Box<dyn Objective>,
    ) -> Self {
        let start = move |optim, total| -> Box<dyn PlayerState> {
            Box::new(Stepper::new(model, optim, total).training(part))
        };
        Self {
            name,
            optim,
            turn: Turn::default(),
            objective,
            parameters,
            start: Box::new(start),
        }
    }

    /// The same player, which moves only in its turn.
    pub fn in_turn(self, turn: Turn) -> Self {
        Self { turn, ..self }
    }

    /// Parameters that move.
    pub(crate) fn parameters(&self) -> usize {
        self.parameters
    }

    /// Parameters with gradient, two moments of Adam, and average.
    pub(crate) fn state(&self) -> usize {
        self.parameters * (4 + usize::from(self.optim.ema.is_some()))
    }

    /// Starts a phase of so many updates of the phase's batches.
    pub(crate) fn start(self, batches: &OptimConfig, updates: u64) -> Playing {
        let optim = OptimConfig {
            batch: batches.batch,
            micro_batch: batches.micro_batch,
            gradient_checkpointing: batches.gradient_checkpointing,
            ..self.optim
        };
        Playing {
            name: self.name,
            turn: self.turn,
            objective: self.objective,
            state: (self.start)(optim, self.turn.count(updates)),
        }
    }
}

/// A player in a phase under way.
pub(crate) struct Playing {
    pub(crate) name: &'static str,
    pub(crate) turn: Turn,
    pub(crate) objective: Box<dyn Objective>,
    pub(crate) state: Box<dyn PlayerState>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The updates that are counted are those in which the player moves.
    #[test]
    fn turns_are_counted_as_they_come() {
        for turn in [
            Turn::default(),
            Turn::every(3),
            Turn { every: 3, after: 4 },
            Turn { every: 1, after: 2 },
        ] {
            let at: Vec<u64> = (0..12).filter(|update| turn.is_at(*update)).collect();
            assert_eq!(at.first(), Some(&turn.after));
            assert!(at.windows(2).all(|pair| pair[1] - pair[0] == turn.every));
            for updates in 0..12 {
                let moved = at.iter().filter(|update| **update < updates).count();
                assert_eq!(turn.count(updates), moved as u64, "{turn:?} in {updates}");
            }
        }
    }
}
