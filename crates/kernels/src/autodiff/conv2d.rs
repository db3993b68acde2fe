//! Convolution, recorded for the backward pass.

use crate::cpu::conv;
use crate::cpu::simd::Isa;
use crate::extension::{Bias, ConvOptions, KernelOps};
use crate::flex::{Floats, conv_shape, tensor};
use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, NodeGuard, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Flex};

/// Parents: the input, the weight and, where there are three, the bias.
#[derive(Debug)]
struct Conv2d;

pub(super) fn record<C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<Flex, C>>,
    weight: FloatTensor<Autodiff<Flex, C>>,
    bias: Bias<Autodiff<Flex, C>>,
    options: ConvOptions,
) -> FloatTensor<Autodiff<Flex, C>> {
    match bias {
        Bias::Given(bias) => {
            let nodes = [x.node(), weight.node(), bias.node()];
            record_with::<C, 3>(
                nodes,
                x,
                weight,
                Bias::Given(bias.into_primitive()),
                options,
            )
        }
        Bias::Absent => {
            record_with::<C, 2>([x.node(), weight.node()], x, weight, Bias::Absent, options)
        }
    }
}

fn record_with<C: CheckpointStrategy, const N: usize>(
    nodes: [NodeGuard; N],
    x: FloatTensor<Autodiff<Flex, C>>,
    weight: FloatTensor<Autodiff<Flex, C>>,
    bias: Bias<Flex>,
    options: ConvOptions,
) -> FloatTensor<Autodiff<Flex, C>> {
    match Conv2d.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(mut prep) => {
            // What a gradient needs that nobody asks for is not kept: the input under a frozen weight.
            let (of_x, of_weight) = (x.is_tracked(), weight.is_tracked());
            let shape = conv_shape(x.primitive(), weight.primitive(), options);
            let state = State {
                x: of_weight.then(|| prep.checkpoint(&x)),
                weight: of_x.then(|| prep.checkpoint(&weight)),
                shape,
            };
            let (x, weight) = (x.into_primitive(), weight.into_primitive());
            prep.finish(state, Flex::kernel_conv2d(x, weight, bias, options))
        }
        OpsKind::UnTracked(prep) => {
            let (x, weight) = (x.into_primitive(), weight.into_primitive());
            prep.finish(Flex::kernel_conv2d(x, weight, bias, options))
        }
    }
}

/// What the gradients are computed from.
#[derive(Clone, Debug)]
struct State {
    x: Option<NodeId>,
    weight: Option<NodeId>,
    shape: conv::Shape,
}

impl<const N: usize> Backward<Flex, N> for Conv2d {
    type State = State;

    fn backward(
        self,
        ops: Ops<Self::State, N>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let dy = Floats::new(grads.consume::<Flex>(&ops.node));
        let State { x, weight, shape } = ops.state;
        let mut input = |id: Option<NodeId>| {
            id.map(|id| Floats::new(checkpointer.retrieve_node_output::<FlexTensor>(id)))
        };
        let (x, weight) = (input(x), input(weight));
        let conv::Shape {
            batch,
            channels_in,
            channels_out,
            size_in: [height, width],
            kernel: [kernel_h, kernel_w],
            ..
        } = shape;

        if let (Some(node), Some(weight)) = (&ops.parents[0], weight) {
            let dx = conv::input_grad(Isa::best(), &shape, dy.slice(), weight.slice());
            let size = [batch, channels_in, height, width];
            grads.register::<Flex>(node.id, tensor(dx, size));
        }
        let (node_weight, node_bias) =
            (&ops.parents[1], ops.parents.get(2).and_then(Option::as_ref));
        match (node_weight, x) {
            (Some(node), Some(x)) => {
                let gradients = conv::weight_grad(Isa::best(), &shape, x.slice(), dy.slice());
                let size = [channels_out, channels_in, kernel_h, kernel_w];
                grads.register::<Flex>(node.id, tensor(gradients.weight, size));
                if let Some(node) = node_bias {
                    grads.register::<Flex>(node.id, tensor(gradients.bias, [channels_out]));
                }
            }
            _ => {
                if let Some(node) = node_bias {
                    let bias = conv::bias_grad(&shape, dy.slice());
                    grads.register::<Flex>(node.id, tensor(bias, [channels_out]));
                }
            }
        }
    }
}
