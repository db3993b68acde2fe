//! The CPU backend: its tensors' storage as slices, and the kernels on them.

use crate::cpu::conv;
use crate::cpu::simd::Isa;
use crate::extension::{Bias, ConvOptions, KernelOps};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::TensorData;

/// A tensor whose elements lie in order, without gaps.
pub(crate) struct Floats(FlexTensor);

impl Floats {
    /// Copies only where the tensor is a view that skips or reorders.
    pub(crate) fn new(tensor: FlexTensor) -> Self {
        Self(if tensor.is_contiguous() { tensor } else { tensor.to_contiguous() })
    }

    pub(crate) fn slice(&self) -> &[f32] {
        self.0.as_slice().expect("contiguous f32: checked before the kernels are called")
    }
}

/// A tensor around a kernel's result.
pub(crate) fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}

pub(crate) fn conv_shape(x: &FlexTensor, weight: &FlexTensor, options: ConvOptions) -> conv::Shape {
    let [batch, channels_in, height, width] = x.shape().dims();
    let [channels_out, _, kernel_h, kernel_w] = weight.shape().dims();
    conv::Shape {
        batch,
        channels_in,
        channels_out,
        size_in: [height, width],
        kernel: [kernel_h, kernel_w],
        stride: options.stride,
        padding: options.padding,
    }
}

impl KernelOps for Flex {
    fn kernel_conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: Bias<Self>,
        options: ConvOptions,
    ) -> FloatTensor<Self> {
        let shape = conv_shape(&x, &weight, options);
        let (x, weight) = (Floats::new(x), Floats::new(weight));
        let bias = match bias {
            Bias::Given(bias) => Some(Floats::new(bias)),
            Bias::Absent => None,
        };
        let y = conv::forward(
            Isa::best(),
            &shape,
            x.slice(),
            weight.slice(),
            bias.as_ref().map(Floats::slice),
        );
        let [height, width] = shape.output();
        tensor(y, [shape.batch, shape.channels_out, height, width])
    }
}
