//! What a run will take, before it starts.

use super::{Method, Phase, Run, RunError};
use crate::method::{Batch, Cost};
use crate::optim::{PART, Stepper};
use burn::module::Module;
use fewstep_data::Order;
use fewstep_diffusion::{DiffusionModel, Network, Schedule};
use fewstep_formats::Model;
use fewstep_nn::{TrainedPart, UNet};
use rayon::current_num_threads;
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
    /// Network evaluations of a sample.
    pub cost: Cost,
    /// Predicted time, from timed updates of a few samples on this machine.
    pub seconds: f64,
    /// Predicted peak memory: parameters with all their copies, activations, training data.
    pub bytes: u64,
}

/// Samples of a timed update; fewer when a micro-batch is smaller.
const PROBE: usize = 8;

/// A micro-batch that takes less than so many seconds is timed whole: its parts then run side by side, as they will.
const SHORT: f64 = 2.0;

/// Memory of the program itself, with the tables of the framework and what its heaps leave unused.
const PROGRAM_BYTES: u64 = 50 << 20;

impl Run {
    /// Predicts time and memory of every phase by a few timed updates with untrained students. Nothing is
    /// written.
    ///
    /// # Errors
    /// When the teacher does not fit the recipe.
    pub fn plan(&self, initial: &Model) -> Result<Vec<PhasePlan>, RunError> {
        let mut base = initial.clone();
        let mut plans = vec![];
        for phase in &self.phases {
            let student = phase.student(&base, self.seed)?;
            plans.push(self.plan_phase(phase, &base, &student)?);
            base = Model {
                recipe: phase.recipe(&base, self, 0),
                network: student,
            };
        }
        Ok(plans)
    }

    fn plan_phase(
        &self,
        phase: &Phase,
        base: &Model,
        student: &UNet,
    ) -> Result<PhasePlan, RunError> {
        let objective = phase.objective(base)?;
        let schedule = Schedule::new(base.recipe.schedule.clone());
        let model = DiffusionModel {
            network: student.clone(),
            schedule: schedule.map_err(|e| RunError::Teacher(e.to_string()))?,
            prediction: phase.recipe(base, self, 0).prediction,
        };
        let mut stepper =
            Stepper::new(model, phase.optim.clone(), phase.updates).training(phase.part());
        let mut time = |samples: usize| -> Result<f64, RunError> {
            let mut order = Order::new(self.seed, self.examples.len(), self.flip);
            let host = self.examples.batch(&mut order, 0, samples)?;
            let batches: [Batch; 1] = [super::runner::to_device(&host, 0, &self.device)];
            let mut seconds = f64::INFINITY;
            for _ in 0..3 {
                let start = Instant::now();
                let updated = stepper.update(&*objective, &batches, self.seed);
                updated.map_err(|e| RunError::Teacher(format!("a trial update failed: {e}")))?;
                seconds = seconds.min(start.elapsed().as_secs_f64());
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
            cost: objective.cost(),
            seconds: per_sample * phase.samples() as f64,
            bytes: self.bytes(phase, student),
        })
    }

    fn bytes(&self, phase: &Phase, student: &UNet) -> u64 {
        let shape = self.examples.shape();
        let config = student.config();
        let trained = self.trained(phase, student);
        // The teacher's parameters, frozen ones and the average of frozen ones are one and the same.
        let frozen = match trained == student.num_params() {
            true => student.num_params() * usize::from(phase.has_teacher()),
            false => student.num_params() - trained,
        };
        let micro = phase.optim.micro_batch();
        let part = match student.draws() {
            true => micro,
            false => micro.min(PART),
        };
        let parts = micro.div_ceil(part);
        // Parameters before and after the step, two moments of Adam, the average; the gradients of each part and their
        // sum.
        let copies = 4 + usize::from(phase.optim.ema.is_some()) + parts + 1;
        // Parts go side by side, a thread each.
        let lanes = parts.min(current_num_threads());
        let kept = config.activations(shape.height, shape.width, self.part(phase, student));
        let activations = lanes * part * kept;
        let data = self.examples.bytes();
        PROGRAM_BYTES + (4 * (copies * trained + frozen + activations) + data) as u64
    }

    /// Parameters that move in a phase.
    fn trained(&self, phase: &Phase, student: &UNet) -> usize {
        match (self.part(phase, student), student.adapter()) {
            _ if phase.lora.is_some() => student.num_changed(),
            (TrainedPart::Adapter, Some(adapter)) => adapter.num_params(),
            _ => student.num_params(),
        }
    }

    fn part(&self, phase: &Phase, student: &UNet) -> TrainedPart {
        match &phase.method {
            Method::Adapted(adaptation)
                if adaptation.adapter_alone() && student.adapter().is_some() =>
            {
                TrainedPart::Adapter
            }
            _ => TrainedPart::All,
        }
    }
}
