//! What a run will take of memory, counted from configurations: nothing is allocated.

mod cpu;
mod gpu;

use super::{Phase, Run, RunError};
use crate::method::{Cost, Player};
use burn::module::Module;
use burn::tensor::Device;
use fewstep_data::Examples;
use fewstep_diffusion::Guidance;
use fewstep_formats::Model;
use fewstep_kernels::device::Placement;
use fewstep_kernels::memory::Predicted;
use fewstep_nn::{Backbone, LoraConfig, Precision, TrainedPart, Training};
use serde::Serialize;

/// Where a run computes, for the prediction of its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The CPU: everything is in the machine's memory.
    Cpu,
    /// A GPU through Vulkan or Metal.
    Gpu,
    /// A GPU through CUDA, whose libraries need more room to work in.
    Cuda,
}

impl Target {
    /// Of a device.
    pub fn of(device: &Device) -> Self {
        let placement = Placement::of(device);
        match (placement.has_own_memory(), placement.has_libraries()) {
            (false, _) => Self::Cpu,
            (true, false) => Self::Gpu,
            (true, true) => Self::Cuda,
        }
    }
}

/// A choice of what is trained and of what is kept for the backward pass, with the memory it takes.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct MemoryOption {
    /// Whether LoRA are trained, and not all weights.
    pub lora: bool,
    /// Whether blocks keep only their inputs and are computed again.
    pub checkpointing: bool,
    /// Predicted peak memory.
    pub memory: Predicted,
}

/// Memory of the program itself, with the tables of the framework and what its heap leaves unused:
/// 23 MiB of the program are in memory, 10 more of one with GPUs and MPI.
const PROGRAM_BYTES: u64 = 44 << 20;

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
        target: Target,
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
                    memory: self.most(initial, shown, target, &change)?,
                });
            }
        }
        Ok(options)
    }

    /// Predicts the memory that the run takes as its recipe has it.
    ///
    /// # Errors
    /// When the teacher does not fit the recipe.
    pub fn memory(
        &self,
        initial: &Model,
        shown: usize,
        target: Target,
    ) -> Result<Predicted, RunError> {
        self.most(initial, shown, target, &Phase::clone)
    }

    /// The most that a phase takes, each of them changed.
    fn most(
        &self,
        initial: &Model,
        shown: usize,
        target: Target,
        change: &dyn Fn(&Phase) -> Phase,
    ) -> Result<Predicted, RunError> {
        let mut base = initial.clone();
        let mut most = Predicted::default();
        for phase in &self.phases {
            let phase = change(phase);
            let student = phase.student(&base, self.seed)?;
            let networks = (initial, &base, &student);
            most = most.max(self.of_phase(&phase, networks, shown, target)?);
            base = Model {
                recipe: self.recipe(&phase, &base, 0),
                network: student,
            };
        }
        Ok(most)
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
        (initial, base, student): (&Model, &Model, &Backbone),
        shown: usize,
        target: Target,
    ) -> Result<Predicted, RunError> {
        let model = &Model {
            network: initial.network.clone(),
            recipe: base.recipe.clone(),
        };
        let teacher = phase.planned_teacher(model);
        let cost = phase.method.objective(&teacher)?.cost();
        let others = phase.method.others(&teacher, self.seed)?;
        let state = others.iter().map(Player::state).sum();
        // Players have their turns one after another.
        let costs = others.iter().map(|other| other.objective.cost());
        let of_turns = costs.chain([cost]).map(|cost| {
            let needs = self.needs(phase, base, student, (cost, state), shown);
            match target {
                Target::Cpu => Predicted::of_host(needs.on_cpu()),
                Target::Gpu | Target::Cuda => Predicted {
                    host: needs.beside_gpu(),
                    device: needs.on_gpu(target),
                },
            }
        });
        Ok(of_turns.fold(Predicted::default(), Predicted::max))
    }

    /// What decides the memory of a phase.
    fn needs<'a>(
        &self,
        phase: &'a Phase,
        base: &'a Model,
        student: &'a Backbone,
        (cost, other_state): (Cost, usize),
        shown: usize,
    ) -> Needs<'a> {
        let shape = self.examples.shape();
        // Branches of guidance in a call for a grid.
        let branches = match self.recipe(phase, base, 0).guidance {
            Guidance::ClassifierFree if base.network.config().sees_source() => 3,
            Guidance::ClassifierFree => 2,
            Guidance::None | Guidance::Input { .. } | Guidance::Fixed { .. } => 1,
        };
        let phases = self.phases.iter();
        let starts = phases.filter_map(|phase| phase.method.starts_from());
        Needs {
            phase,
            base,
            student,
            training: Training {
                size: [shape.height, shape.width],
                states: self.examples.text_states(),
                part: phase.trained_part(),
                checkpointing: phase.optim.gradient_checkpointing,
            },
            trained: trained(phase, student),
            cost,
            other_state,
            starts: starts.map(|start| start.network.num_params()).sum(),
            shown: shown * branches,
            data: self.examples.bytes(),
            image: shape.len(),
            reads_stored: phase.lora.is_some() && self.components.is_some(),
            precision: self.config.precision,
        }
    }
}

/// What decides the memory of a phase.
struct Needs<'a> {
    phase: &'a Phase,
    base: &'a Model,
    student: &'a Backbone,
    training: Training,
    /// Parameters that move.
    trained: usize,
    cost: Cost,
    /// Numbers that other players carry along.
    other_state: usize,
    /// Weights of the models that students of the run start from, which are in memory all the time.
    starts: usize,
    /// Samples that go through the network together for a grid.
    shown: usize,
    /// Bytes of the examples.
    data: usize,
    /// Numbers of an image.
    image: usize,
    /// Whether the teacher is never in memory in 32 bits where its weights are stored in 16.
    reads_stored: bool,
    precision: Precision,
}

impl Needs<'_> {
    /// Numbers of 32 bits of the frozen teacher. The teacher's parameters, frozen ones and the
    /// average of frozen ones are one and the same; where the teacher has LoRA too, it has them for
    /// itself, and weights with them if they are merged.
    fn frozen(&self) -> usize {
        let (all, trained) = (self.student.num_params(), self.trained);
        // A student that goes on has its frozen weights in common with the one that it starts from.
        let has_own = trained == all || self.training.part == TrainedPart::AllButConvolutions;
        match (has_own, self.phase.method.calls_teacher()) {
            (true, false) => 0,
            (true, true) => self.stored(self.base.network.num_params()),
            (false, _) => {
                let base = &self.base.network;
                let own = base.lora().map_or(0, |lora| {
                    let merged = match self.phase.merges_teacher() {
                        true => base.config().merged(&self.training),
                        false => 0,
                    };
                    lora.num_params() + merged
                });
                self.stored(all - trained) + own
            }
        }
    }

    /// Weights of the student that are frozen and stored as the teacher's are.
    fn shared(&self) -> usize {
        match self.training.part {
            TrainedPart::AllButConvolutions => 0,
            _ => self.student.num_params() - self.trained,
        }
    }

    /// Numbers of 32 bits of so many weights of the teacher.
    fn stored(&self, weights: usize) -> usize {
        match self.phase.teacher_precision {
            Precision::F32 => weights,
            Precision::Bf16 | Precision::F16 => weights / 2,
        }
    }

    /// Numbers of 32 bits of the teacher's network while it is read.
    fn read(&self) -> usize {
        let weights = self.base.network.num_params();
        match self.reads_stored {
            true => self.stored(weights),
            false => weights,
        }
    }

    /// Numbers of the parameters, two moments of Adam, the average, what is frozen, and the models
    /// that students start from.
    fn state(&self) -> usize {
        let copies = 3 + usize::from(self.phase.optim.ema.is_some());
        let starts = match self.phase.lora {
            Some(_) => self.stored(self.starts),
            None => self.starts,
        };
        self.trained * copies + self.frozen() + self.other_state + starts
    }
}

/// Numbers of a recipe, whose products have more than 64 bits.
fn wide(number: usize) -> u128 {
    number as u128
}

fn to_bytes(bytes: u128) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// Parameters that move in a phase.
pub(super) fn trained(phase: &Phase, student: &Backbone) -> usize {
    match (phase.trained_part(), student.controlnet()) {
        (TrainedPart::Lora, _) => student.num_lora_params(),
        (TrainedPart::ControlNet, Some(controlnet)) => controlnet.num_params(),
        (TrainedPart::AllButConvolutions, _) => {
            student.num_params() - student.convolution_weights().values().sum::<usize>()
        }
        _ => student.num_params(),
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
