//! Attention, recorded for the backward pass.

use crate::backend::{AttentionSaved, KernelBackend};
use burn::backend::Autodiff;
use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;

/// Parents: queries, keys and values.
#[derive(Debug)]
struct Attention;

pub(super) fn record<B: KernelBackend, C: CheckpointStrategy>(
    inputs: [FloatTensor<Autodiff<B, C>>; 3],
) -> FloatTensor<Autodiff<B, C>> {
    let nodes = inputs.each_ref().map(|input| input.node());
    match Attention.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(mut prep) => {
            let ids = inputs.each_ref().map(|input| prep.checkpoint(input));
            let inputs = inputs.map(|input| input.into_primitive());
            let (y, statistics) = B::attend_kept(inputs);
            prep.finish((ids, y.clone(), statistics), y)
        }
        OpsKind::UnTracked(prep) => {
            prep.finish(B::attend(inputs.map(|input| input.into_primitive())))
        }
    }
}

impl<B: KernelBackend> Backward<B, 3> for Attention {
    type State = ([NodeId; 3], FloatTensor<B>, B::AttentionStatistics);

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let dy = grads.consume::<B>(&ops.node);
        let (ids, output, statistics) = ops.state;
        let inputs = ids.map(|id| checkpointer.retrieve_node_output::<FloatTensor<B>>(id));
        let saved = AttentionSaved {
            inputs,
            output,
            statistics,
        };
        let gradients = B::attend_grad(saved, dy);
        for (parent, gradient) in ops.parents.iter().zip(gradients) {
            if let Some(node) = parent {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}
