//! The memory of a phase on a GPU, and what the host needs next to it.
//!
//! During updates the framework takes memory in exact sizes and keeps what is freed for the next
//! tensor of that size ([`Placement::repeatedly`](fewstep_kernels::device::Placement)). So what
//! counts is the most that was in use of every size, at whatever moment, and not the most at one
//! moment.

use super::{Needs, PROGRAM_BYTES, Target, to_bytes, wide};
use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::tensor::Tensor;
use fewstep_kernels::memory::{LIBRARY_WORKSPACE, queries_at_once};
use fewstep_nn::{Precision, TrainedPart};
use std::collections::{HashMap, HashSet};

/// Images of a micro-batch in f32 around the network: what it starts from, noise, targets, answers,
/// and the gradients of these.
const IMAGES: usize = 12;

/// Batches on the host that wait for the device.
const WAITING: usize = 5;

impl Needs<'_> {
    /// Bytes of the device's memory.
    pub(super) fn on_gpu(&self, target: Target) -> u64 {
        let (phase, config) = (self.phase, self.student.config());
        let training = &self.training;
        let of_map = match self.precision {
            Precision::F32 => 4,
            Precision::Bf16 | Precision::F16 => 2,
        };
        // Students start from the weights of their teacher. Where it is not kept as it is, these
        // are there until the first update is done.
        let all = self.student.num_params();
        let shared = phase.method.calls_teacher() && phase.teacher_precision == Precision::F32;
        let start = match self.trained == all && !shared {
            true => all,
            false => 0,
        };
        let weights = wide(self.state() + start);

        let micro = phase.optim.micro_batch();
        let (called, online) = (self.cost.largest_frozen * micro, self.cost.trained * micro);
        let judged = wide(self.cost.judged * micro) * wide(config.kept_by_frozen_encoder(training));
        let graph = wide(online) * wide(config.pooled(training)) + judged;
        let answer = wide(config.pooled_forward(training.size, training.states));
        // Maps of as many samples have the same sizes.
        let calling = wide(called) * answer;
        let maps = match called == online && !self.cost.frozen_during_graph {
            true => graph.max(calling),
            false => graph + calling,
        };
        // Scores, their gradients, and both in the type of the maps.
        let tables = config.attention_tables(training).into_iter().map(|table| {
            let heads = online.max(called).saturating_mul(table.heads);
            let libraries = target == Target::Cuda;
            let queries = queries_at_once(heads, table.tokens, table.context, libraries);
            wide(heads) * wide(queries) * wide(table.context)
        });
        let scores: u128 = tables.sum();
        // Weights with LoRA are made in f32, block by block, and kept in the type of the maps.
        let rounded = match self.precision {
            Precision::F32 => 0,
            Precision::Bf16 | Precision::F16 => of_map,
        };
        let merged =
            of_map * wide(config.merged(training)) + (4 + rounded) * wide(config.pooled_merged());
        // A parameter is replaced when its gradient is known: then there are both, and three new
        // tensors of the size at hand.
        let replaced = match phase.trained_part() {
            TrainedPart::All => sizes(self.student),
            TrainedPart::AllButConvolutions => {
                sizes_without(self.student, self.student.convolution_weights())
            }
            TrainedPart::Lora => self.student.lora().map_or(0, sizes),
            TrainedPart::ControlNet => self.student.controlnet().map_or(0, sizes),
        };
        let accumulated = wide(self.trained * usize::from(phase.optim.batch > micro));
        let gradients = wide(config.pooled_gradients(training)) + accumulated;
        let gradients = gradients + 3 * wide(replaced);
        // Upcast weights of a student are kept for its backward pass.
        let frozen = self.shared();
        let upcast = match (phase.teacher_precision, self.precision) {
            (Precision::F32, _) => 0,
            (_, Precision::F32) if frozen > 0 && !training.checkpointing => frozen,
            _ => self.base.network.config().largest_block(),
        };
        let images = wide(IMAGES * micro) * wide(self.image);
        let libraries = match target {
            Target::Cuda => wide(LIBRARY_WORKSPACE),
            Target::Cpu | Target::Gpu => 0,
        };
        let updating = of_map * (maps + wide(sizes(self.student)))
            + merged
            + scores * (4 + of_map) * 2
            + 4 * (gradients + images + wide(upcast))
            + libraries;
        // Grids are generated outside updates, from memory that is shared out as it comes.
        let shown = wide(config.forward(training.size, training.states));
        let showing = of_map * wide(self.shown) * shown + libraries;
        to_bytes(4 * weights + updating.max(showing))
    }

    /// Bytes of the machine's memory when a GPU computes: the teacher's file while it is read, the
    /// moments while a checkpoint is written, the examples.
    pub(super) fn beside_gpu(&self) -> u64 {
        let reading = wide(self.read());
        let saving = wide(2 * self.trained);
        let waiting = wide(WAITING * self.phase.optim.micro_batch()) * wide(self.image);
        let bytes = 4 * (reading.max(saving) + waiting) + wide(self.data);
        to_bytes(bytes).saturating_add(PROGRAM_BYTES)
    }
}

/// Numbers of one parameter of every size.
fn sizes(network: &impl Module) -> usize {
    sizes_without(network, HashMap::new())
}

/// The same without some parameters.
fn sizes_without(network: &impl Module, passed_over: HashMap<ParamId, usize>) -> usize {
    struct Sizes(HashMap<ParamId, usize>, HashSet<usize>);
    impl ModuleVisitor for Sizes {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if !self.0.contains_key(&param.id) {
                self.1.insert(param.lazy_shape().num_elements());
            }
        }
    }
    let mut sizes = Sizes(passed_over, HashSet::new());
    network.visit(&mut sizes);
    sizes.1.into_iter().sum()
}
