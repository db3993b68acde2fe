//! Attention, recorded for the backward pass.

use crate::cpu::attention::{self, Saved};
use crate::cpu::simd::Isa;
use crate::flex::{Floats, attention_shape, tensor};
use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Flex, TensorMetadata};
use std::sync::Arc;

/// Parents: queries, keys and values.
#[derive(Debug)]
struct Attention;

/// The output, and the logarithms of each query's sum of exponentials.
type Results = (FlexTensor, Arc<Vec<f32>>);

pub(super) fn record<C: CheckpointStrategy>(
    inputs: [FloatTensor<Autodiff<Flex, C>>; 3],
) -> FloatTensor<Autodiff<Flex, C>> {
    let nodes = inputs.each_ref().map(|input| input.node());
    match Attention.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(mut prep) => {
            let ids = inputs.each_ref().map(|input| prep.checkpoint(input));
            let (y, sums) = forward(inputs.map(|input| input.into_primitive()));
            prep.finish((ids, (y.clone(), sums)), y)
        }
        OpsKind::UnTracked(prep) => {
            prep.finish(forward(inputs.map(|input| input.into_primitive())).0)
        }
    }
}

fn forward(inputs: [FlexTensor; 3]) -> Results {
    let (size, shape) = (
        inputs[0].shape().dims::<4>(),
        attention_shape(&inputs[0], &inputs[1]),
    );
    let [q, k, v] = inputs.map(Floats::new);
    let (y, sums) = attention::forward(Isa::best(), &shape, q.slice(), k.slice(), v.slice());
    (tensor(y, size), Arc::new(sums))
}

impl Backward<Flex, 3> for Attention {
    type State = ([NodeId; 3], Results);

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let dy = Floats::new(grads.consume::<Flex>(&ops.node));
        let (ids, (output, sums)) = ops.state;
        let inputs = ids.map(|id| checkpointer.retrieve_node_output::<FlexTensor>(id));
        let sizes = inputs.each_ref().map(|input| input.shape().dims::<4>());
        let shape = attention_shape(&inputs[0], &inputs[1]);
        let ([q, k, v], output) = (inputs.map(Floats::new), Floats::new(output));
        let saved = Saved {
            q: q.slice(),
            k: k.slice(),
            v: v.slice(),
            output: output.slice(),
            sums: &sums,
        };
        let gradients = attention::backward(Isa::best(), &shape, saved, dy.slice());
        for ((parent, gradient), size) in ops.parents.iter().zip(gradients).zip(sizes) {
            if let Some(node) = parent {
                grads.register::<Flex>(node.id, tensor(gradient, size));
            }
        }
    }
}
