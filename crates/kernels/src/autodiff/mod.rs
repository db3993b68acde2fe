//! The kernels' own backward passes.

mod attention;
mod conv2d;
mod group_norm;
mod recomputed;

use crate::extension::{Bias, ConvOptions, Function, KernelOps, Modulation, NormOptions, Tensors};
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Flex};

impl<C: CheckpointStrategy> KernelOps for Autodiff<Flex, C> {
    fn kernel_conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: Bias<Self>,
        options: ConvOptions,
    ) -> FloatTensor<Self> {
        conv2d::record::<C>(x, weight, bias, options)
    }

    fn kernel_group_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        modulation: Modulation<Self>,
        options: NormOptions,
    ) -> FloatTensor<Self> {
        match modulation {
            Modulation::Film { scale, shift } => {
                group_norm::record::<C, 5>([x, gamma, beta, scale, shift], options)
            }
            Modulation::Absent => group_norm::record::<C, 3>([x, gamma, beta], options),
        }
    }

    fn kernel_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        attention::record::<C>([q, k, v])
    }

    fn kernel_recomputed(inputs: Tensors<Self>, function: Function) -> FloatTensor<Self> {
        recomputed::record::<C>(inputs.0, function)
    }
}
