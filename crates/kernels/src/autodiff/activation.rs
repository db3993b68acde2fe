//! Activation functions, recorded for the backward pass.

use crate::backend::KernelBackend;
use burn::backend::Autodiff;
use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;

/// A function with one input, its parent, which is kept.
#[derive(Clone, Copy, Debug)]
pub(super) enum Activation {
    Silu,
    Geglu,
}

impl Activation {
    fn value<B: KernelBackend>(self, x: FloatTensor<B>) -> FloatTensor<B> {
        match self {
            Self::Silu => B::silu(x),
            Self::Geglu => B::geglu(x),
        }
    }

    fn gradient<B: KernelBackend>(self, x: FloatTensor<B>, dy: FloatTensor<B>) -> FloatTensor<B> {
        match self {
            Self::Silu => B::silu_grad(x, dy),
            Self::Geglu => B::geglu_grad(x, dy),
        }
    }

    pub(super) fn record<B: KernelBackend, C: CheckpointStrategy>(
        self,
        x: FloatTensor<Autodiff<B, C>>,
    ) -> FloatTensor<Autodiff<B, C>> {
        match self.prepare::<C>([x.node()]).compute_bound().stateful() {
            OpsKind::Tracked(mut prep) => {
                let id = prep.checkpoint(&x);
                prep.finish(id, self.value::<B>(x.into_primitive()))
            }
            OpsKind::UnTracked(prep) => prep.finish(self.value::<B>(x.into_primitive())),
        }
    }
}

impl<B: KernelBackend> Backward<B, 1> for Activation {
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
            grads.register::<B>(node.id, self.gradient::<B>(x, dy));
        }
    }
}
