//! A function whose intermediate results are computed again in the backward pass, in place of being kept.

use crate::extension::{Function, KernelOps, Tensors};
use crate::flex::apply;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend, Flex, TensorMetadata};

/// Most inputs of a function: a transformer block with all its parameters has 28.
pub(crate) const MOST: usize = 32;

/// The graph of one block while its gradients are computed.
type Graph = Autodiff<Flex>;

/// Parents: the inputs, and constants for those that are not there.
#[derive(Debug)]
struct Recomputed;

pub(super) fn record<C: CheckpointStrategy>(
    inputs: Vec<FloatTensor<Autodiff<Flex, C>>>,
    function: Function,
) -> FloatTensor<Autodiff<Flex, C>> {
    let absent = Graph::from_inner(inputs[0].primitive().clone());
    let nodes = std::array::from_fn(|i| inputs.get(i).unwrap_or(&absent).node());
    let inputs: Vec<FlexTensor> = inputs.into_iter().map(|x| x.into_primitive()).collect();
    let y = Flex::kernel_recomputed(Tensors(inputs.clone()), function.clone());
    match Recomputed.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish((inputs, function), y),
        OpsKind::UnTracked(prep) => prep.finish(y),
    }
}

impl Backward<Flex, MOST> for Recomputed {
    type State = (Vec<FlexTensor>, Function);

    fn backward(
        self,
        ops: Ops<Self::State, MOST>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let dy = grads.consume::<Flex>(&ops.node);
        let (inputs, function) = ops.state;
        let leaves: Vec<FloatTensor<Graph>> = inputs
            .into_iter()
            .zip(&ops.parents)
            .map(|(input, parent)| {
                Graph::float_set_require_grad(Graph::from_inner(input), parent.is_some())
            })
            .collect();
        let y = apply::<Graph>(&function, leaves.clone());
        // The gradient of Σ y dy with dy held fixed is what dy says of the inputs.
        let sum = Graph::float_sum(Graph::float_mul(y, Graph::from_inner(dy)));
        let mut inner = Graph::backward(sum);
        for (leaf, parent) in leaves.into_iter().zip(&ops.parents) {
            if let Some(node) = parent {
                let gradient = Graph::grad_remove(&leaf, &mut inner).unwrap_or_else(|| {
                    let x = leaf.into_primitive();
                    Flex::float_zeros(x.shape(), &x.device(), x.dtype().into())
                });
                grads.register::<Flex>(node.id, gradient);
            }
        }
    }
}
