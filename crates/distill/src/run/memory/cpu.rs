//! The memory of a phase on the CPU.

use super::{Needs, PROGRAM_BYTES, to_bytes, wide};
use fewstep_diffusion::Network;
use fewstep_kernels::device::Placement;
use fewstep_nn::Precision;
use rayon::current_num_threads;

impl Needs<'_> {
    /// The most of what comes one after another: the passes of a micro-batch, its gradients when
    /// all parts are done, sample grids, and a checkpoint. The C library keeps freed blocks for the
    /// next ones of their size ([`fewstep_kernels::memory::keep_freed_blocks`]), so that what one
    /// of them needed serves the others.
    pub(super) fn on_cpu(&self) -> u64 {
        let (phase, config, training) = (self.phase, self.student.config(), &self.training);
        let trained = self.trained;
        let state = wide(self.state());
        let micro = phase.optim.micro_batch();
        let part = match self.student.has_dropout() {
            true => micro,
            false => Placement::cpu().part(micro),
        };
        let parts = micro.div_ceil(part);
        // Parts run in parallel, a thread each.
        let lanes = parts.min(current_num_threads());
        let (called, online) = (self.cost.largest_frozen * part, self.cost.trained * part);
        let answer = config.forward(training.size, training.states);
        // Of a teacher in 16 bits one linear layer at a time is upcast, which is no more than a block.
        let upcast = match phase.teacher_precision {
            Precision::F32 => 0,
            Precision::Bf16 | Precision::F16 => self.base.network.config().largest_block(),
        };
        // Of weights with LoRA, those of one block.
        let calling = wide(called) * wide(answer) + wide(upcast) + wide(config.largest_merged());
        let judged = wide(self.cost.judged * part) * wide(config.kept_by_frozen_encoder(training));
        let peak = wide(config.peak(training, online)) + judged;
        let passes = match self.cost.frozen_during_graph {
            true => {
                let kept = wide(online) * wide(config.kept(training));
                peak.max(kept + wide(config.merged(training)) + judged + calling)
            }
            false => peak.max(calling),
        };
        let done = wide(parts - lanes) * wide(trained);
        let passes = wide(lanes) * (passes + wide(config.workspace())) + done;
        // The gradients of the micro-batches before.
        let accumulated = wide(trained * usize::from(phase.optim.batch > micro));
        let updating = accumulated + passes.max(wide(parts) * wide(trained));
        let showing = wide(config.largest_merged()) + wide(self.shown) * wide(answer);
        // A checkpoint has the moments a second time; a model is written parameter by parameter.
        let saving = wide(2 * trained);
        let most = updating.max(showing).max(saving);
        // At the start there is only the teacher's network.
        let reading = wide(self.read());
        let bytes = 4 * reading.max(state + most) + wide(self.data);
        to_bytes(bytes).saturating_add(PROGRAM_BYTES)
    }
}
