//! What a run will take, before it starts.

use super::batch::to_device;
use super::players::Players;
use super::{Phase, Run, RunError};
use crate::method::{Batch, Cost};
use burn::module::Module;
use fewstep_data::{ExampleOrder, Examples};
use fewstep_diffusion::{Guidance, Network};
use fewstep_formats::Model;
use fewstep_kernels::device::Placement;
use fewstep_nn::{Backbone, LoraConfig, Precision, TrainedPart, Training};
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
    /// Network evaluations of a sample, in an update in which every player moves.
    pub cost: Cost,
    /// Predicted time, from timed updates of a few samples on this machine.
    pub seconds: f64,
    /// Predicted peak memory: parameters with all their copies, activations, training data.
    pub bytes: u64,
}

/// A choice of what is trained and of what is kept for the backward pass, with the memory it takes.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct MemoryOption {
    /// Whether LoRA are trained, and not all weights.
    pub lora: bool,
    /// Whether blocks keep only their inputs and are computed again.
    pub checkpointing: bool,
    /// Predicted peak memory.
    pub bytes: u64,
}

/// Samples of a timed update; fewer when a micro-batch is smaller.
const PROBE: usize = 8;

/// A micro-batch that takes less than so many seconds is timed whole: its parts then run in
/// parallel, as they will.
const SHORT: f64 = 2.0;

/// Memory of the program itself, with the tables of the framework and what its heap leaves unused.
const PROGRAM_BYTES: u64 = 30 << 20;

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
            plans.push(self.plan_phase(phase, &base, &student, shown)?);
            base = Model {
                recipe: self.recipe(phase, &base, 0),
                network: student,
            };
        }
        Ok(plans)
    }

    /// Predicts the memory of every [`MemoryOption`], without running anything. LoRA are for
    /// methods that support them; they are those of the recipe, or the usual ones.
    ///
    /// # Errors
    /// When the teacher does not fit the recipe.
    pub fn memory_options(
        &self,
        initial: &Model,
        shown: usize,
    ) -> Result<Vec<MemoryOption>, RunError> {
        let supports_lora = self.phases.iter().all(|phase| phase.method.supports_lora());
        let mut options = vec![];
        for lora in [false, true]
            .into_iter()
            .take(1 + usize::from(supports_lora))
        {
            for checkpointing in [false, true] {
                options.push(MemoryOption {
                    lora,
                    checkpointing,
                    bytes: self.memory(initial, shown, lora, checkpointing)?,
                });
            }
        }
        Ok(options)
    }

    fn memory(
        &self,
        initial: &Model,
        shown: usize,
        with_lora: bool,
        checkpointing: bool,
    ) -> Result<u64, RunError> {
        let mut base = initial.clone();
        let mut bytes = 0;
        for phase in &self.phases {
            let mut phase = phase.clone();
            phase.optim.gradient_checkpointing = checkpointing;
            let lora = phase
                .lora
                .take()
                .unwrap_or_else(LoraConfig::default_attention);
            phase.lora = with_lora.then_some(lora);
            let student = phase.student(&base, self.seed)?;
            let players = Players::new(&phase, &base, student.clone(), self.seed)?;
            bytes = bytes.max(self.bytes(&phase, &base, &student, &players, shown));
            base = Model {
                recipe: self.recipe(&phase, &base, 0),
                network: student,
            };
        }
        Ok(bytes)
    }

    /// Predicts the memory that making latents takes, where they are yet to be made.
    pub fn encoding(&self) -> Option<u64> {
        match &self.examples {
            Examples::Planned { bytes, .. } => Some(PROGRAM_BYTES + bytes),
            _ => None,
        }
    }

    fn plan_phase(
        &self,
        phase: &Phase,
        base: &Model,
        student: &Backbone,
        shown: usize,
    ) -> Result<PhasePlan, RunError> {
        let mut players = Players::new(phase, base, student.clone(), self.seed)?;
        let mut time = |samples: usize| -> Result<f64, RunError> {
            let mut order = ExampleOrder::new(self.seed, self.examples.len(), self.flip);
            let host = self.examples.batch(&mut order, 0, samples)?;
            let batches: [Batch; 1] = [to_device(&host, 0, &self.device)];
            let mut seconds = f64::INFINITY;
            let round = players.round();
            for _ in 0..3 {
                let start = Instant::now();
                players.resume_at(0);
                for _ in 0..round {
                    let updated = players.update(&batches, self.seed);
                    updated.map_err(|diverged| RunError::Trial(diverged.source))?;
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
            bytes: self.bytes(phase, base, student, &players, shown),
        })
    }

    /// The most of what comes one after another: the passes of a micro-batch, its gradients when
    /// all parts are done, sample grids, and a checkpoint. The C library keeps freed blocks for the
    /// next ones of their size ([`fewstep_kernels::memory::keep_freed_blocks`]), so that what one
    /// of them needed serves the others.
    fn bytes(
        &self,
        phase: &Phase,
        base: &Model,
        student: &Backbone,
        players: &Players,
        shown: usize,
    ) -> u64 {
        let cost = players.student_cost();
        let config = student.config();
        let shape = self.examples.shape();
        let training = Training {
            size: [shape.height, shape.width],
            states: self.examples.text_states(),
            part: phase.trained_part(),
            checkpointing: phase.optim.gradient_checkpointing,
        };
        let (all, trained) = (student.num_params(), self.trained(phase, student));
        let changed = |network: &Backbone| {
            network
                .lora()
                .map_or(0, |_| network.config().lora_weights())
        };
        let (merged, merged_before) = (changed(student), changed(&base.network));
        // The teacher's parameters, frozen ones and the average of frozen ones are one and the
        // same; where the teacher has LoRA too, its weights have them.
        let frozen = match (
            trained == all,
            phase.method.calls_teacher(),
            phase.teacher_precision,
        ) {
            (true, false, _) => 0,
            (true, true, Precision::F32) => base.network.num_params(),
            (true, true, Precision::Bf16) => base.network.num_params() / 2,
            (false, ..) => all - trained + merged_before,
        };
        // Parameters, two moments of Adam, the average.
        let state = trained * (3 + usize::from(phase.optim.ema.is_some())) + frozen;
        let state = state + players.other_state();

        let micro = phase.optim.micro_batch();
        let part = match student.has_dropout() {
            true => micro,
            false => Placement::of(&self.device).part(micro),
        };
        let parts = micro.div_ceil(part);
        // Parts run in parallel, a thread each.
        let lanes = parts.min(current_num_threads());
        let (called, online) = (cost.largest_frozen * part, cost.trained * part);
        let answer = config.forward(training.size, training.states);
        // A teacher in 16 bits is upcast one block at a time.
        let upcast = match phase.teacher_precision {
            Precision::F32 => 0,
            Precision::Bf16 => base.network.config().largest_block(),
        };
        let calling = called * answer + upcast;
        let peak = config.peak(&training, online);
        let passes = match cost.frozen_during_graph {
            true => peak.max(online * config.kept(&training) + calling),
            false => peak.max(calling),
        };
        let done = (parts - lanes) * trained;
        let passes = lanes * (passes + merged + config.workspace()) + done;
        // The gradients of the micro-batches before.
        let accumulated = trained * usize::from(phase.optim.batch > micro);
        let updating = accumulated + passes.max(parts * trained);
        let guided = self.recipe(phase, base, 0).guidance == Guidance::ClassifierFree;
        let showing = merged + shown * (1 + usize::from(guided)) * answer;
        // A checkpoint has the moments a second time; a model is written parameter by parameter.
        let saving = 2 * trained;
        let most = updating.max(showing).max(saving);
        // At the start the teacher's file is in memory as well as its network.
        let reading = 2 * base.network.num_params();
        PROGRAM_BYTES + (4 * reading.max(state + most) + self.examples.bytes()) as u64
    }

    /// Parameters that move in a phase.
    fn trained(&self, phase: &Phase, student: &Backbone) -> usize {
        match (phase.trained_part(), student.controlnet()) {
            (TrainedPart::Lora, _) => student.num_lora_params(),
            (TrainedPart::ControlNet, Some(controlnet)) => controlnet.num_params(),
            _ => student.num_params(),
        }
    }
}
