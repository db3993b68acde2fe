//! The networks that a phase trains: the student, and the other players of its method.

use super::{Phase, RunError};
use crate::method::{Batch, Cost, Objective, Peer, Playing, STUDENT, Turn};
use crate::optim::{Meanwhile, NotFinite, PlayerState, Stepper, UpdateError, UpdateReport};
use fewstep_diffusion::Denoiser;
use fewstep_formats::Model;
use fewstep_nn::Backbone;
use fewstep_world::{World, WorldError};

/// All players of a phase.
pub(super) struct Players {
    pub(super) student: Stepper<Backbone>,
    objective: Box<dyn Objective>,
    turn: Turn,
    pub(super) others: Vec<Playing>,
    updates: u64,
}

/// What an update saw: a report for each player that had its turn.
pub(super) struct RoundReport {
    pub(super) student: Option<UpdateReport>,
    pub(super) others: Vec<(&'static str, UpdateReport)>,
}

/// Why an update of the phase failed.
pub(super) enum RoundError {
    Diverged(Diverged),
    World(WorldError),
}

/// A player whose numbers are not finite.
pub(super) struct Diverged {
    /// The other player; none for the student.
    pub(super) player: Option<&'static str>,
    pub(super) source: NotFinite,
}

impl Players {
    /// The players of a phase before its first update, with the student that starts there, as one
    /// of the ranks of a world.
    pub(super) fn new(
        phase: &Phase,
        base: &Model,
        student: Backbone,
        seed: u64,
        world: &World,
    ) -> Result<Self, RunError> {
        let model = phase.model(base, student)?;
        let turn = phase.method.turn();
        let total = turn.count(phase.updates);
        let objective = phase.objective(base)?;
        let mut student = Stepper::new(model, phase.optim.clone(), total).training(phase.freeze());
        PlayerState::join(&mut student, world);
        let others = phase.method.others(&phase.teacher(base), seed)?;
        let mut players = Self {
            student,
            objective,
            turn,
            others: vec![],
            updates: 0,
        };
        for player in others {
            let mut player = player.start(&phase.optim, phase.updates);
            player.state.join(world);
            players.join(player)?;
        }
        Ok(players)
    }

    fn join(&mut self, player: Playing) -> Result<(), RunError> {
        let name = player.name;
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || !name.chars().all(is_plain) {
            return Err(RunError::Player(format!(
                "`{name}` cannot be the name of a player: it must be lowercase letters, digits and hyphens"
            )));
        }
        if name == STUDENT || self.others.iter().any(|other| other.name == name) {
            return Err(RunError::Player(format!("two players are named `{name}`")));
        }
        self.others.push(player);
        Ok(())
    }

    fn states(&self) -> impl Iterator<Item = &dyn PlayerState> {
        let others = self.others.iter().map(|other| &*other.state);
        std::iter::once(&self.student as &dyn PlayerState).chain(others)
    }

    /// Whether any network in training draws masks of dropout.
    pub(super) fn have_dropout(&self) -> bool {
        self.states().any(PlayerState::has_dropout)
    }

    /// A digest of all parameters in training.
    pub(super) fn digest(&self) -> u64 {
        self.states()
            .fold(0, |all, state| all.rotate_left(1) ^ state.digest())
    }

    /// Updates of the phase so far.
    pub(super) fn updates(&self) -> u64 {
        self.updates
    }

    /// Updates of the student, and of each other player, after so many of the phase.
    pub(super) fn own_updates(&self, updates: u64) -> (u64, Vec<u64>) {
        let others = self.others.iter().map(|other| other.turn.count(updates));
        (self.turn.count(updates), others.collect())
    }

    /// The next update is the one after so many.
    pub(super) fn resume_at(&mut self, updates: u64) {
        self.updates = updates;
    }

    /// One update of the phase: every player whose turn it is moves, the student first. `meanwhile`
    /// is done while the device is busy.
    pub(super) fn update(
        &mut self,
        batches: &[Batch],
        seed: u64,
        meanwhile: Meanwhile<'_>,
    ) -> Result<RoundReport, RoundError> {
        let update = self.updates;
        let mut report = RoundReport {
            student: None,
            others: vec![],
        };
        if self.turn.is_at(update) {
            let models: Vec<_> = self
                .others
                .iter()
                .map(|p| (p.name, p.state.model()))
                .collect();
            let peers: Vec<Peer<'_>> = models.iter().map(peer).collect();
            let updated =
                self.student
                    .update_among(&peers, &*self.objective, (batches, seed), meanwhile);
            let player = None;
            report.student = Some(updated.map_err(|source| diverged(player, source, update))?);
        }
        for index in 0..self.others.len() {
            if !self.others[index].turn.is_at(update) {
                continue;
            }
            let student: Box<dyn Denoiser> = Box::new(self.student.model());
            let further = self.others.iter().enumerate().filter(|(i, _)| *i != index);
            let mut models = vec![(STUDENT, student)];
            models.extend(further.map(|(_, other)| (other.name, other.state.model())));
            let peers: Vec<Peer<'_>> = models.iter().map(peer).collect();
            let other = &mut self.others[index];
            let name = other.name;
            let updated = other.state.update(
                &peers,
                &*other.objective,
                (batches, stream(seed, index as u64 + 1)),
                meanwhile,
            );
            let player = Some(name);
            let updated = updated.map_err(|source| diverged(player, source, update))?;
            report.others.push((name, updated));
        }
        self.updates += 1;
        Ok(report)
    }

    /// The first update in which every player moves.
    pub(super) fn first_of_all(&self) -> u64 {
        self.turn.after
    }

    /// Updates in which every player has moved.
    pub(super) fn round(&self) -> u64 {
        let turns = self.others.iter().map(|other| other.turn);
        let every = turns.chain([self.turn]).map(|turn| turn.every);
        every.max().unwrap_or(1)
    }

    /// Network evaluations of a sample in an update in which every player moves.
    pub(super) fn cost(&self) -> Cost {
        let others = self.others.iter().map(|other| other.objective.cost());
        others.fold(self.objective.cost(), |sum, cost| Cost {
            frozen: sum.frozen + cost.frozen,
            trained: sum.trained + cost.trained,
            judged: sum.judged + cost.judged,
            ..sum
        })
    }
}

/// A player keeps count of its own updates; what is reported is the phase's.
fn diverged(player: Option<&'static str>, error: UpdateError, update: u64) -> RoundError {
    match error {
        UpdateError::World(error) => RoundError::World(error),
        UpdateError::NotFinite(source) => RoundError::Diverged(Diverged {
            player,
            source: NotFinite {
                update: update + 1,
                ..source
            },
        }),
    }
}

fn peer<'a>((name, model): &'a (&'static str, Box<dyn Denoiser>)) -> Peer<'a> {
    Peer {
        name,
        model: &**model,
    }
}

/// The seed of another player's draws: they are independent of the student's.
fn stream(seed: u64, player: u64) -> u64 {
    seed ^ player.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}
