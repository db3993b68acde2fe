//! SiLU, recorded for the backward pass.

use crate::backend::KernelBackend;
use burn::backend::Autodiff;
use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;

/// Parent: the input.
#[derive(Debug)]
struct Silu;

pub(super) fn record<B: KernelBackend, C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<B, C>>,
) -> FloatTensor<Autodiff<B, C>> {
    match Silu.prepare::<C>([x.node()]).compute_bound().stateful() {
        OpsKind::Tracked(mut prep) => {
            let id = prep.checkpoint(&x);
            prep.finish(id, B::silu(x.into_primitive()))
        }
        OpsKind::UnTracked(prep) => prep.finish(B::silu(x.into_primitive())),
    }
}

impl<B: KernelBackend> Backward<B, 1> for Silu {
    type State = NodeId;

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let dy = grads.consume::<B>(&ops.node);
        let x = checkpointer.retrieve_node_output::<FloatTensor<B>>(ops.state);
        if let Some(node) = &ops.parents[0] {
            grads.register::<B>(node.id, B::silu_grad(x, dy));
        }
    }
}
