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
use burn::backend::{Autodiff, Flex, TensorMetadata};

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
            let state = (prep.checkpoint(&x), prep.checkpoint(&weight), options);
            let (x, weight) = (x.into_primitive(), weight.into_primitive());
            prep.finish(state, Flex::kernel_conv2d(x, weight, bias, options))
        }
        OpsKind::UnTracked(prep) => {
            let (x, weight) = (x.into_primitive(), weight.into_primitive());
            prep.finish(Flex::kernel_conv2d(x, weight, bias, options))
        }
    }
}

impl<const N: usize> Backward<Flex, N> for Conv2d {
    type State = (NodeId, NodeId, ConvOptions);

    fn backward(
        self,
        ops: Ops<Self::State, N>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let dy = Floats::new(grads.consume::<Flex>(&ops.node));
        let (x, weight, options) = ops.state;
        let x: FlexTensor = checkpointer.retrieve_node_output(x);
        let weight: FlexTensor = checkpointer.retrieve_node_output(weight);
        let (shape, size, size_weight) = (
            conv_shape(&x, &weight, options),
            x.shape().dims::<4>(),
            weight.shape().dims::<4>(),
        );

        if let Some(node) = &ops.parents[0] {
            let weight = Floats::new(weight);
            let dx = conv::input_grad(Isa::best(), &shape, dy.slice(), weight.slice());
            grads.register::<Flex>(node.id, tensor(dx, size));
        }
        let (node_weight, node_bias) =
            (&ops.parents[1], ops.parents.get(2).and_then(Option::as_ref));
        match (node_weight, node_bias) {
            (Some(node), _) => {
                let x = Floats::new(x);
                let gradients = conv::weight_grad(Isa::best(), &shape, x.slice(), dy.slice());
                grads.register::<Flex>(node.id, tensor(gradients.weight, size_weight));
                if let Some(node) = node_bias {
                    let bias = tensor(gradients.bias, [shape.channels_out]);
                    grads.register::<Flex>(node.id, bias);
                }
            }
            (None, Some(node)) => {
                let bias = conv::bias_grad(&shape, dy.slice());
                grads.register::<Flex>(node.id, tensor(bias, [shape.channels_out]));
            }
            (None, None) => {}
        }
    }
}
