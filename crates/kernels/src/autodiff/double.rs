//! Doubling of a map's resolution, recorded for the backward pass.

use crate::backend::KernelBackend;
use burn::backend::Autodiff;
use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::retro_forward::RetroForward;
use burn::backend::autodiff::checkpoint::state::BackwardStates;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, unary};
use burn::backend::tensor::FloatTensor;
use std::marker::PhantomData;

/// Parent: the map.
#[derive(Debug)]
struct Double;

/// Computes the output again, after gradient checkpointing dropped it.
#[derive(Debug)]
struct Again<B> {
    map: NodeId,
    backend: PhantomData<B>,
}

impl<B: KernelBackend> RetroForward for Again<B> {
    fn forward(&self, states: &mut BackwardStates, out_node: NodeId) {
        let x = states.get_state::<FloatTensor<B>>(&self.map);
        states.save(out_node, B::double(x));
    }
}

pub(super) fn record<B: KernelBackend, C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<B, C>>,
) -> FloatTensor<Autodiff<B, C>> {
    let again = Again::<B> {
        map: x.id(),
        backend: PhantomData,
    };
    let prepared = Double.prepare::<C>([x.node()]).memory_bound();
    let prepared = prepared.retro_forward(again).parents([&x]);
    prepared.stateless(B::double(x.into_primitive()))
}

impl<B: KernelBackend> Backward<B, 1> for Double {
    type State = ();

    fn backward(self, ops: Ops<(), 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        unary::<B, _>(ops.parents, ops.node, grads, B::double_grad);
    }
}
