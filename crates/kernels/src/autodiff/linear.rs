//! A linear layer, recorded for the backward pass.

use crate::backend::KernelBackend;
use crate::extension::{Bias, Weight};
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, NodeGuard, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, DType, TensorMetadata};

/// Parents: the input, the weight and, if there are three, the bias.
#[derive(Debug)]
struct Linear;

pub(super) fn record<B: KernelBackend, C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<B, C>>,
    weight: FloatTensor<Autodiff<B, C>>,
    bias: Bias<Autodiff<B, C>>,
) -> FloatTensor<Autodiff<B, C>> {
    match bias {
        Bias::Given(bias) => {
            let nodes = [x.node(), weight.node(), bias.node()];
            record_with::<B, C, 3>(nodes, x, weight, Some(bias.into_primitive()))
        }
        Bias::Absent => record_with::<B, C, 2>([x.node(), weight.node()], x, weight, None),
    }
}

fn record_with<B: KernelBackend, C: CheckpointStrategy, const N: usize>(
    nodes: [NodeGuard; N],
    x: FloatTensor<Autodiff<B, C>>,
    weight: FloatTensor<Autodiff<B, C>>,
    bias: Option<FloatTensor<B>>,
) -> FloatTensor<Autodiff<B, C>> {
    let (of_x, of_weight) = (x.is_tracked(), weight.is_tracked());
    let (x, weight) = (x.into_primitive(), weight.into_primitive());
    let dtype = weight.dtype();
    let used = B::cast_to(weight.clone(), x.dtype());
    // Kept in the smaller type.
    let kept = match dtype.size() < x.dtype().size() {
        true => weight,
        false => used.clone(),
    };
    match Linear.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => {
            // Each is needed for the gradient of the other.
            let state = State::<B> {
                x: of_weight.then(|| x.clone()),
                weight: of_x.then_some(kept),
                dtype,
            };
            prep.finish(state, B::affine(x, Weight::Floats(used), bias))
        }
        OpsKind::UnTracked(prep) => prep.finish(B::affine(x, Weight::Floats(used), bias)),
    }
}

/// What the gradients are computed from.
#[derive(Clone, Debug)]
struct State<B: KernelBackend> {
    x: Option<FloatTensor<B>>,
    /// In the type of the input, or in the one that it is stored in.
    weight: Option<FloatTensor<B>>,
    /// Of the parameters.
    dtype: DType,
}

impl<B: KernelBackend, const N: usize> Backward<B, N> for Linear {
    type State = State<B>;

    fn backward(
        self,
        ops: Ops<Self::State, N>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let dy = grads.consume::<B>(&ops.node);
        let State { x, weight, dtype } = ops.state;
        let transposed = |matrix| B::float_swap_dims(matrix, 0, 1);
        if let (Some(node), Some(weight)) = (&ops.parents[0], weight) {
            let weight = B::cast_to(weight, dy.dtype());
            let dx = B::product(dy.clone(), transposed(weight), dy.dtype());
            grads.register::<B>(node.id, dx);
        }
        if let (Some(node), Some(x)) = (&ops.parents[1], x) {
            grads.register::<B>(node.id, B::product(transposed(x), dy.clone(), dtype));
        }
        if let Some(Some(node)) = ops.parents.get(2) {
            grads.register::<B>(node.id, B::sum_of_rows(dy, dtype));
        }
    }
}
