//! What a run will take of memory, counted from configurations: nothing is allocated.

use super::{Phase, Run, RunError};
use crate::method::{Cost, Player, Teacher};
use burn::module::Module;
use fewstep_data::Examples;
use fewstep_diffusion::{Guidance, Network};
use fewstep_formats::Model;
use fewstep_kernels::device::Placement;
use fewstep_nn::{Backbone, LoraConfig, Precision, TrainedPart, Training};
use rayon::current_num_threads;
use serde::Serialize;

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

/// Memory of the program itself, with the tables of the framework and what its heap leaves unused.
const PROGRAM_BYTES: u64 = 30 << 20;

impl Run {
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
                let change = |phase: &Phase| changed(phase, lora, checkpointing);
                options.push(MemoryOption {
                    lora,
                    checkpointing,
                    bytes: self.most(initial, shown, &change)?,
                });
            }
        }
        Ok(options)
    }

    /// Predicts the memory that the run takes as its recipe has it.
    ///
    /// # Errors
    /// When the teacher does not fit the recipe.
    pub fn memory(&self, initial: &Model, shown: usize) -> Result<u64, RunError> {
        self.most(initial, shown, &Phase::clone)
    }

    /// The most that a phase takes, each of them changed.
    fn most(
        &self,
        initial: &Model,
        shown: usize,
        change: &dyn Fn(&Phase) -> Phase,
    ) -> Result<u64, RunError> {
        let mut base = initial.clone();
        let mut bytes = 0;
        for phase in &self.phases {
            let phase = change(phase);
            let student = phase.student(&base, self.seed)?;
            bytes = bytes.max(self.of_phase(&phase, initial, &base, &student, shown)?);
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

    /// Predicts the memory of a phase. What its objective costs does not depend on the weights of
    /// the model before it: those of the initial model are there already.
    pub(super) fn of_phase(
        &self,
        phase: &Phase,
        initial: &Model,
        base: &Model,
        student: &Backbone,
        shown: usize,
    ) -> Result<u64, RunError> {
        let model = &Model {
            network: initial.network.clone(),
            recipe: base.recipe.clone(),
        };
        let teacher = Teacher {
            model,
            precision: Precision::F32,
        };
        let cost = phase.method.objective(&teacher)?.cost();
        let others = phase.method.others(&teacher, self.seed)?;
        let others = others.iter().map(Player::state).sum();
        Ok(self.bytes(phase, base, student, (cost, others), shown))
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
        (cost, other_state): (Cost, usize),
        shown: usize,
    ) -> u64 {
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
        // Products of large numbers of a recipe have more than 64 bits.
        let wide = |number: usize| number as u128;
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
        let state = wide(state + other_state);

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
        let calling = wide(called) * wide(answer) + wide(upcast);
        let peak = wide(config.peak(&training, online));
        let passes = match cost.frozen_during_graph {
            true => peak.max(wide(online) * wide(config.kept(&training)) + calling),
            false => peak.max(calling),
        };
        let done = wide(parts - lanes) * wide(trained);
        let passes = wide(lanes) * (passes + wide(merged + config.workspace())) + done;
        // The gradients of the micro-batches before.
        let accumulated = wide(trained * usize::from(phase.optim.batch > micro));
        let updating = accumulated + passes.max(wide(parts) * wide(trained));
        let guided = self.recipe(phase, base, 0).guidance == Guidance::ClassifierFree;
        let showing = wide(merged) + wide(shown * (1 + usize::from(guided))) * wide(answer);
        // A checkpoint has the moments a second time; a model is written parameter by parameter.
        let saving = wide(2 * trained);
        let most = updating.max(showing).max(saving);
        // At the start the teacher's file is in memory as well as its network.
        let reading = wide(2 * base.network.num_params());
        let bytes = 4 * reading.max(state + most) + wide(self.examples.bytes());
        u64::try_from(bytes).map_or(u64::MAX, |bytes| bytes.saturating_add(PROGRAM_BYTES))
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

/// A phase with other choices of a [`MemoryOption`].
fn changed(phase: &Phase, with_lora: bool, checkpointing: bool) -> Phase {
    let mut phase = phase.clone();
    phase.optim.gradient_checkpointing = checkpointing;
    let lora = phase.lora.take();
    let lora = lora.unwrap_or_else(LoraConfig::default_attention);
    phase.lora = with_lora.then_some(lora);
    phase
}
