//! Convolution, recorded for the backward pass.

use crate::backend::{KernelBackend, size};
use crate::extension::{Bias, Weight};
use crate::options::ConvOptions;
use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, NodeGuard, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, DType, TensorMetadata};

/// Parents: the input, the weight and, if there are three, the bias.
#[derive(Debug)]
struct Conv2d;

pub(super) fn record<B: KernelBackend, C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<B, C>>,
    weight: FloatTensor<Autodiff<B, C>>,
    bias: Bias<Autodiff<B, C>>,
    options: ConvOptions,
) -> FloatTensor<Autodiff<B, C>> {
    match bias {
        Bias::Given(bias) => {
            let nodes = [x.node(), weight.node(), bias.node()];
            record_with::<B, C, 3>(nodes, x, weight, Some(bias.into_primitive()), options)
        }
        Bias::Absent => record_with::<B, C, 2>([x.node(), weight.node()], x, weight, None, options),
    }
}

fn record_with<B: KernelBackend, C: CheckpointStrategy, const N: usize>(
    nodes: [NodeGuard; N],
    x: FloatTensor<Autodiff<B, C>>,
    weight: FloatTensor<Autodiff<B, C>>,
    bias: Option<FloatTensor<B>>,
    options: ConvOptions,
) -> FloatTensor<Autodiff<B, C>> {
    match Conv2d.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(mut prep) => {
            // The inputs of gradients that are not needed are not kept: the input of a frozen
            // weight.
            let (of_x, of_weight) = (x.is_tracked(), weight.is_tracked());
            let state = State {
                x: of_weight.then(|| prep.checkpoint(&x)),
                weight: of_x.then(|| prep.checkpoint(&weight)),
                size: size(x.primitive()),
                weight_size: size(weight.primitive()),
                dtype: weight.primitive().dtype(),
                options,
            };
            let (x, weight) = (x.into_primitive(), weight.into_primitive());
            prep.finish(state, B::convolve(x, Weight::Floats(weight), bias, options))
        }
        OpsKind::UnTracked(prep) => {
            let (x, weight) = (x.into_primitive(), weight.into_primitive());
            prep.finish(B::convolve(x, Weight::Floats(weight), bias, options))
        }
    }
}

/// What the gradients are computed from.
#[derive(Clone, Debug)]
struct State {
    x: Option<NodeId>,
    weight: Option<NodeId>,
    size: [usize; 4],
    weight_size: [usize; 4],
    /// Of the parameters.
    dtype: DType,
    options: ConvOptions,
}

impl<B: KernelBackend, const N: usize> Backward<B, N> for Conv2d {
    type State = State;

    fn backward(
        self,
        ops: Ops<Self::State, N>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let dy = grads.consume::<B>(&ops.node);
        let state = ops.state;
        let mut input = |id: Option<NodeId>| {
            id.map(|id| checkpointer.retrieve_node_output::<FloatTensor<B>>(id))
        };
        let (x, weight) = (input(state.x), input(state.weight));
        if let (Some(node), Some(weight)) = (&ops.parents[0], weight) {
            let dx = B::conv2d_input_grad(dy.clone(), weight, state.size, state.options);
            grads.register::<B>(node.id, dx);
        }
        let bias = ops.parents.get(2).and_then(Option::as_ref);
        let of_bias = match (&ops.parents[1], x) {
            (Some(node), Some(x)) => {
                let (size, options) = (state.weight_size, (state.options, state.dtype));
                let (weight, of_bias) = B::conv2d_weight_grad(x, dy, size, bias.is_some(), options);
                grads.register::<B>(node.id, weight);
                of_bias
            }
            _ => bias.map(|_| B::conv2d_bias_grad(dy, state.dtype)),
        };
        if let Some((node, gradient)) = bias.zip(of_bias) {
            grads.register::<B>(node.id, gradient);
        }
    }
}
