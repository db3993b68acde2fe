//! A product of matrices, recorded for the backward pass.

use crate::backend::KernelBackend;
use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, TensorMetadata};

/// Parents: the two factors, of the same rank and the same batch.
#[derive(Debug)]
struct Matmul;

pub(super) fn record<B: KernelBackend, C: CheckpointStrategy>(
    factors: [FloatTensor<Autodiff<B, C>>; 2],
) -> FloatTensor<Autodiff<B, C>> {
    let nodes = factors.each_ref().map(|factor| factor.node());
    match Matmul.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(mut prep) => {
            // A factor is needed for the gradient of the other.
            let [a, b] = factors;
            let (of_a, of_b) = (a.is_tracked(), b.is_tracked());
            let state = [
                of_b.then(|| prep.checkpoint(&a)),
                of_a.then(|| prep.checkpoint(&b)),
            ];
            prep.finish(state, B::matmul(a.into_primitive(), b.into_primitive()))
        }
        OpsKind::UnTracked(prep) => {
            let [a, b] = factors.map(|factor| factor.into_primitive());
            prep.finish(B::matmul(a, b))
        }
    }
}

impl<B: KernelBackend> Backward<B, 2> for Matmul {
    type State = [Option<NodeId>; 2];

    fn backward(
        self,
        ops: Ops<Self::State, 2>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let dy = grads.consume::<B>(&ops.node);
        let [a, b] = ops
            .state
            .map(|id| id.map(|id| checkpointer.retrieve_node_output::<FloatTensor<B>>(id)));
        let transposed = |factor: FloatTensor<B>| {
            let rank = factor.rank();
            B::float_swap_dims(factor, rank - 2, rank - 1)
        };
        if let (Some(node), Some(b)) = (&ops.parents[0], b) {
            grads.register::<B>(node.id, B::matmul(dy.clone(), transposed(b)));
        }
        if let (Some(node), Some(a)) = (&ops.parents[1], a) {
            grads.register::<B>(node.id, B::matmul(transposed(a), dy));
        }
    }
}
