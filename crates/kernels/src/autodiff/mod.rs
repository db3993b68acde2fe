//! The backward passes of the operations, on every back end that has their gradients.

mod attention;
mod checkpointed;
mod conv2d;
mod double;
mod group_norm;
mod linear;
mod silu;

use crate::backend::KernelBackend;
use crate::extension::{Bias, Function, KernelOps, Modulation, Tensors, Weight};
use crate::options::{AdamStep, ConvOptions, NormOptions};
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, DispatchKindConversion, DispatchTensor};

impl<B: KernelBackend, C: CheckpointStrategy> KernelOps for Autodiff<B, C>
where
    DispatchTensor: DispatchKindConversion<B> + DispatchKindConversion<Autodiff<B>>,
{
    fn kernel_conv2d(
        x: FloatTensor<Self>,
        weight: Weight<Self>,
        bias: Bias<Self>,
        options: ConvOptions,
    ) -> FloatTensor<Self> {
        conv2d::record::<B, C>(x, weight.floats(), bias, options)
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
                group_norm::record::<B, C, 5>([x, gamma, beta, scale, shift], options)
            }
            Modulation::Absent => group_norm::record::<B, C, 3>([x, gamma, beta], options),
        }
    }

    fn kernel_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        attention::record::<B, C>([q, k, v])
    }

    fn kernel_silu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        silu::record::<B, C>(x)
    }

    fn kernel_double(x: FloatTensor<Self>) -> FloatTensor<Self> {
        double::record::<B, C>(x)
    }

    fn kernel_linear(
        x: FloatTensor<Self>,
        weight: Weight<Self>,
        bias: Bias<Self>,
    ) -> FloatTensor<Self> {
        linear::record::<B, C>(x, weight.floats(), bias)
    }

    fn kernel_adam(_tensors: Tensors<Self>, _step: AdamStep) -> Tensors<Self> {
        unimplemented!("updates have no graph")
    }

    fn kernel_mix(_a: FloatTensor<Self>, _b: FloatTensor<Self>, _kept: f64) -> FloatTensor<Self> {
        unimplemented!("updates have no graph")
    }

    fn kernel_squared_norm(_tensors: Tensors<Self>) -> FloatTensor<Self> {
        unimplemented!("updates have no graph")
    }

    fn kernel_checkpointed(inputs: Tensors<Self>, function: Function) -> FloatTensor<Self> {
        checkpointed::record::<B, C>(inputs.0, function)
    }
}
