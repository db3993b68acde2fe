//! The kernels' own backward passes.

mod conv2d;

use crate::extension::{Bias, ConvOptions, KernelOps};
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
}
