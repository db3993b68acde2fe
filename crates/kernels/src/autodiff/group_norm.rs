//! Group normalisation, recorded for the backward pass.

use crate::cpu::norm::Moments;
use crate::extension::NormOptions;
use crate::flex::{Floats, NormInputs};
use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::retro_forward::RetroForward;
use burn::backend::autodiff::checkpoint::state::BackwardStates;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Flex};
use std::sync::Arc;

/// Parents: the map, gamma and beta, and FiLM's scale and shift where there are five.
#[derive(Debug)]
struct GroupNorm;

/// The output again out of the inputs, where gradient checkpointing gave it up.
#[derive(Debug)]
struct Again<const N: usize> {
    inputs: [NodeId; N],
    options: NormOptions,
}

impl<const N: usize> RetroForward for Again<N> {
    fn forward(&self, states: &mut BackwardStates, out_node: NodeId) {
        let inputs = self.inputs.map(|id| states.get_state::<FlexTensor>(&id));
        let (y, _) = NormInputs::new(&inputs).forward(self.options);
        states.save(out_node, y);
    }
}

pub(super) fn record<C: CheckpointStrategy, const N: usize>(
    inputs: [FloatTensor<Autodiff<Flex, C>>; N],
    options: NormOptions,
) -> FloatTensor<Autodiff<Flex, C>> {
    let prep = GroupNorm
        .prepare::<C>(inputs.each_ref().map(|input| input.node()))
        .memory_bound()
        .retro_forward(Again {
            inputs: inputs.each_ref().map(|input| input.id()),
            options,
        })
        .parents::<Flex, _>(&inputs);
    match prep.stateful() {
        OpsKind::Tracked(mut prep) => {
            let ids = inputs.each_ref().map(|input| prep.checkpoint(input));
            let inputs = inputs.map(|input| input.into_primitive());
            let (y, moments) = NormInputs::new(&inputs).forward(options);
            prep.finish((ids, options, Arc::new(moments)), y)
        }
        OpsKind::UnTracked(prep) => {
            let inputs = inputs.map(|input| input.into_primitive());
            prep.finish(NormInputs::new(&inputs).forward(options).0)
        }
    }
}

impl<const N: usize> Backward<Flex, N> for GroupNorm {
    type State = ([NodeId; N], NormOptions, Arc<Vec<Moments>>);

    fn backward(
        self,
        ops: Ops<Self::State, N>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let dy = Floats::new(grads.consume::<Flex>(&ops.node));
        let (ids, options, moments) = ops.state;
        let inputs = ids.map(|id| checkpointer.retrieve_node_output::<FlexTensor>(id));
        let gradients = NormInputs::new(&inputs).backward(options, &moments, &dy);
        for (parent, gradient) in ops.parents.iter().zip(gradients) {
            if let Some(node) = parent {
                grads.register::<Flex>(node.id, gradient);
            }
        }
    }
}
