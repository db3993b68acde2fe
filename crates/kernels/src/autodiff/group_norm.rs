//! Group normalisation, recorded for the backward pass.

use crate::backend::{KernelBackend, NormGradients, NormInputs};
use crate::options::NormOptions;
use burn::backend::Autodiff;
use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::retro_forward::RetroForward;
use burn::backend::autodiff::checkpoint::state::BackwardStates;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use std::marker::PhantomData;

/// Parents: the map, gamma and beta, and, if there are five, FiLM's scale and shift.
#[derive(Debug)]
struct GroupNorm;

/// Computes the output from the inputs again, after gradient checkpointing dropped it.
#[derive(Debug)]
struct Again<B, const N: usize> {
    inputs: [NodeId; N],
    options: NormOptions,
    backend: PhantomData<B>,
}

impl<B: KernelBackend, const N: usize> RetroForward for Again<B, N> {
    fn forward(&self, states: &mut BackwardStates, out_node: NodeId) {
        let inputs = self
            .inputs
            .map(|id| states.get_state::<FloatTensor<B>>(&id));
        let (y, _) = B::group_norm(NormInputs::from_array(inputs), self.options);
        states.save(out_node, y);
    }
}

pub(super) fn record<B: KernelBackend, C: CheckpointStrategy, const N: usize>(
    inputs: [FloatTensor<Autodiff<B, C>>; N],
    options: NormOptions,
) -> FloatTensor<Autodiff<B, C>> {
    let prep = GroupNorm
        .prepare::<C>(inputs.each_ref().map(|input| input.node()))
        .memory_bound()
        .retro_forward(Again::<B, N> {
            inputs: inputs.each_ref().map(|input| input.id()),
            options,
            backend: PhantomData,
        })
        .parents::<B, _>(&inputs);
    match prep.stateful() {
        OpsKind::Tracked(mut prep) => {
            let ids = inputs.each_ref().map(|input| prep.checkpoint(input));
            let inputs = inputs.map(|input| input.into_primitive());
            let (y, statistics) = B::group_norm(NormInputs::from_array(inputs), options);
            prep.finish((ids, options, statistics), y)
        }
        OpsKind::UnTracked(prep) => {
            let inputs = inputs.map(|input| input.into_primitive());
            prep.finish(B::group_norm(NormInputs::from_array(inputs), options).0)
        }
    }
}

impl<B: KernelBackend, const N: usize> Backward<B, N> for GroupNorm {
    type State = ([NodeId; N], NormOptions, B::NormStatistics);

    fn backward(
        self,
        ops: Ops<Self::State, N>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let dy = grads.consume::<B>(&ops.node);
        let (ids, options, statistics) = ops.state;
        let inputs = ids.map(|id| checkpointer.retrieve_node_output::<FloatTensor<B>>(id));
        let inputs = NormInputs::from_array(inputs);
        let NormGradients {
            x,
            gamma,
            beta,
            film,
        } = B::group_norm_grad(inputs, &statistics, dy, options);
        let gradients = [x, gamma, beta]
            .into_iter()
            .chain(film.into_iter().flatten());
        for (parent, gradient) in ops.parents.iter().zip(gradients) {
            if let Some(node) = parent {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}
