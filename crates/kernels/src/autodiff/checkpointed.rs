//! A function whose intermediate results are computed again in the backward pass instead of being
//! kept.

use crate::extension::Function;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::{
    Autodiff, AutodiffBackend, Backend, DispatchKindConversion, DispatchTensor, TensorMetadata,
};

/// Most inputs of a function: a transformer block with all its parameters has 28, and two more for
/// each of its 14 layers with LoRA.
pub(crate) const MOST: usize = 64;

/// Parents: the inputs, and constants in place of missing ones.
#[derive(Debug)]
struct Checkpointed;

pub(super) fn record<B: Backend, C: CheckpointStrategy>(
    inputs: Vec<FloatTensor<Autodiff<B, C>>>,
    function: Function,
) -> FloatTensor<Autodiff<B, C>>
where
    DispatchTensor: DispatchKindConversion<B> + DispatchKindConversion<Autodiff<B>>,
{
    assert!(inputs.len() <= MOST, "{} inputs", inputs.len());
    let absent = Autodiff::<B>::from_inner(inputs[0].primitive().clone());
    let nodes = std::array::from_fn(|i| inputs.get(i).unwrap_or(&absent).node());
    let inputs: Vec<FloatTensor<B>> = inputs.into_iter().map(|x| x.into_primitive()).collect();
    let y = function.apply::<B>(inputs.clone());
    match Checkpointed.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish((inputs, function), y),
        OpsKind::UnTracked(prep) => prep.finish(y),
    }
}

impl<B: Backend> Backward<B, MOST> for Checkpointed
where
    DispatchTensor: DispatchKindConversion<Autodiff<B>>,
{
    type State = (Vec<FloatTensor<B>>, Function);

    fn backward(
        self,
        ops: Ops<Self::State, MOST>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let dy = grads.consume::<B>(&ops.node);
        let (inputs, function) = ops.state;
        // The graph of the block exists only while its gradients are computed.
        let leaves: Vec<FloatTensor<Autodiff<B>>> = inputs
            .into_iter()
            .zip(&ops.parents)
            .map(|(input, parent)| {
                let leaf = Autodiff::<B>::from_inner(input);
                Autodiff::<B>::float_set_require_grad(leaf, parent.is_some())
            })
            .collect();
        let y = function.apply::<Autodiff<B>>(leaves.clone());
        // The gradient of Σ y dy with dy held fixed is the inputs' gradient.
        let dy = Autodiff::<B>::from_inner(dy);
        let sum = Autodiff::<B>::float_sum(Autodiff::<B>::float_mul(y, dy));
        let mut inner = Autodiff::<B>::backward(sum);
        for (leaf, parent) in leaves.into_iter().zip(&ops.parents) {
            if let Some(node) = parent {
                let gradient = Autodiff::<B>::grad_remove(&leaf, &mut inner).unwrap_or_else(|| {
                    let x = leaf.into_primitive();
                    B::float_zeros(x.shape(), &x.device(), x.dtype().into())
                });
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}
