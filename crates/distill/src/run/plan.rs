//! What a run will take, before it starts.

use super::batch::to_device;
use super::players::{Players, RoundError};
use super::{Phase, Run, RunError, Target};
use crate::method::{Batch, Cost};
use fewstep_data::ExampleOrder;
use fewstep_formats::Model;
use fewstep_kernels::memory::Predicted;
use fewstep_nn::Backbone;
use fewstep_world::World;
use serde::Serialize;
use std::time::Instant;

/// What a phase will take.
#[derive(Clone, Debug, Serialize)]
pub struct PhasePlan {
    /// Name of the phase.
    pub name: String,
    /// Updates.
    pub updates: u64,
    /// Samples per update.
    pub batch: usize,
    /// Network evaluations of a sample, in an update in which every player moves.
    pub cost: Cost,
    /// Predicted time, from timed updates of a few samples on this machine.
    pub seconds: f64,
    /// Predicted peak memory: parameters with all their copies, activations, training data.
    pub memory: Predicted,
}

/// Samples of a timed update; fewer when a micro-batch is smaller.
const PROBE: usize = 8;

/// A micro-batch that takes less than so many seconds is timed whole: its parts then run in
/// parallel, as they will.
const SHORT: f64 = 2.0;

impl Run {
    /// Predicts time and memory of every phase, the time by a few timed updates with untrained
    /// students. Between updates the caller generates this many images at once, for sample grids.
    /// Nothing is written.
    ///
    /// # Errors
    /// When the teacher does not fit the recipe.
    pub fn plan(&self, initial: &Model, shown: usize) -> Result<Vec<PhasePlan>, RunError> {
        self.check_new(initial)?;
        let mut base = Model {
            network: initial.network.clone().computing_in(self.config.precision),
            recipe: initial.recipe.clone(),
        };
        let mut plans = vec![];
        for phase in &self.phases {
            let student = phase.student(&base, self.seed)?;
            let target = Target::of(&self.device);
            let memory = self.of_phase(phase, (initial, &base, &student), shown, target)?;
            plans.push(self.plan_phase(phase, &base, student.clone(), memory)?);
            base = Model {
                recipe: self.recipe(phase, &base, 0),
                network: student,
            };
        }
        Ok(plans)
    }

    fn plan_phase(
        &self,
        phase: &Phase,
        base: &Model,
        student: Backbone,
        memory: Predicted,
    ) -> Result<PhasePlan, RunError> {
        let mut players = Players::new(phase, base, student, self.seed, &World::default())?;
        let mut time = |samples: usize| -> Result<f64, RunError> {
            let mut order = ExampleOrder::new(self.seed, self.examples.len(), self.flip);
            let host = self.examples.batch(&mut order, 0, samples)?;
            let batches: [Batch; 1] = [to_device(&host, 0, &self.device)];
            let mut seconds = f64::INFINITY;
            let round = players.round();
            for _ in 0..3 {
                let start = Instant::now();
                players.resume_at(players.first_of_all());
                for _ in 0..round {
                    let updated = players.update(&batches, self.seed, &mut || {});
                    updated.map_err(|error| match error {
                        RoundError::Diverged(diverged) => RunError::Trial(diverged.source),
                        RoundError::World(error) => RunError::World(error),
                    })?;
                }
                seconds = seconds.min(start.elapsed().as_secs_f64() / round as f64);
            }
            Ok(seconds / samples as f64)
        };
        let micro = phase.optim.micro_batch();
        let mut per_sample = time(PROBE.min(micro))?;
        if per_sample * (micro as f64) < SHORT {
            per_sample = time(micro)?;
        }
        Ok(PhasePlan {
            name: phase.name.clone(),
            updates: phase.updates,
            batch: phase.optim.batch,
            cost: players.cost(),
            seconds: per_sample * phase.samples() as f64,
            memory,
        })
    }
}
