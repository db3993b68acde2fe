//! The CPU backend: its tensors' storage as slices, and the kernels on them.

use crate::cpu::simd::Isa;
use crate::cpu::{attention, conv, norm};
use crate::extension::{Bias, ConvOptions, Function, KernelOps, Modulation, NormOptions, Tensors};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{
    Backend, BackendTensor, DispatchKindConversion, DispatchTensor, Flex, TensorMetadata,
};
use burn::tensor::TensorData;

/// A tensor whose elements lie in order, without gaps.
pub(crate) struct Floats(FlexTensor);

impl Floats {
    /// Copies only where the tensor is a view that skips or reorders.
    pub(crate) fn new(tensor: FlexTensor) -> Self {
        Self(if tensor.is_contiguous() {
            tensor
        } else {
            tensor.to_contiguous()
        })
    }

    pub(crate) fn slice(&self) -> &[f32] {
        self.0
            .as_slice()
            .expect("contiguous f32: checked before the kernels are called")
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

    fn kernel_group_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        modulation: Modulation<Self>,
        options: NormOptions,
    ) -> FloatTensor<Self> {
        let inputs = match modulation {
            Modulation::Film { scale, shift } => NormInputs::new(&[x, gamma, beta, scale, shift]),
            Modulation::Absent => NormInputs::new(&[x, gamma, beta]),
        };
        inputs.forward(options).0
    }

    fn kernel_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let (size, shape) = (q.shape().dims::<4>(), attention_shape(&q, &k));
        let [q, k, v] = [q, k, v].map(Floats::new);
        let (y, _) = attention::forward(Isa::best(), &shape, q.slice(), k.slice(), v.slice());
        tensor(y, size)
    }

    fn kernel_recomputed(inputs: Tensors<Self>, function: Function) -> FloatTensor<Self> {
        apply::<Self>(&function, inputs.0)
    }
}

/// The function's value on a backend.
pub(crate) fn apply<B: Backend>(function: &Function, inputs: Vec<FloatTensor<B>>) -> FloatTensor<B>
where
    DispatchTensor: DispatchKindConversion<B>,
{
    let inputs = inputs.into_iter().map(BackendTensor::<B>::Float);
    let output = (function.0)(inputs.map(DispatchTensor::from_backend).collect());
    let output = <DispatchTensor as DispatchKindConversion<B>>::try_into_backend(output);
    output
        .expect("a function of tensors of a backend gives one of the same")
        .float()
}

pub(crate) fn attention_shape(q: &FlexTensor, k: &FlexTensor) -> attention::Shape {
    let ([batch, heads, tokens, dim], [_, _, context, _]) = (q.shape().dims(), k.shape().dims());
    attention::Shape {
        heads: batch * heads,
        tokens,
        context,
        dim,
    }
}

/// The inputs of a group normalisation, in order and without gaps.
pub(crate) struct NormInputs {
    /// The map, gamma and beta, and scale and shift where the map is modulated.
    tensors: Vec<Floats>,
    size: [usize; 4],
}

impl NormInputs {
    /// Three inputs, or five with FiLM's.
    pub(crate) fn new(inputs: &[FlexTensor]) -> Self {
        Self {
            tensors: inputs.iter().cloned().map(Floats::new).collect(),
            size: inputs[0].shape().dims(),
        }
    }

    fn shape(&self, options: NormOptions) -> norm::Shape {
        let [batch, channels, height, width] = self.size;
        norm::Shape {
            batch,
            channels,
            area: height * width,
            groups: options.groups,
        }
    }

    fn after(&self, options: NormOptions) -> norm::After<'_> {
        let film = self.tensors.get(3).zip(self.tensors.get(4));
        norm::After {
            gamma: self.tensors[1].slice(),
            beta: self.tensors[2].slice(),
            film: film.map(|(scale, shift)| norm::Film {
                scale: scale.slice(),
                shift: shift.slice(),
            }),
            silu: options.silu,
        }
    }

    pub(crate) fn forward(&self, options: NormOptions) -> (FlexTensor, Vec<norm::Moments>) {
        let (shape, after) = (self.shape(options), self.after(options));
        let (y, moments) = norm::forward(
            Isa::best(),
            &shape,
            options.eps,
            self.tensors[0].slice(),
            after,
        );
        (tensor(y, self.size), moments)
    }

    /// The gradients, in the order of the inputs.
    pub(crate) fn backward(
        &self,
        options: NormOptions,
        moments: &[norm::Moments],
        dy: &Floats,
    ) -> Vec<FlexTensor> {
        let (shape, after) = (self.shape(options), self.after(options));
        let x = self.tensors[0].slice();
        let gradients = norm::backward(Isa::best(), &shape, x, moments, after, dy.slice());
        let per_channel = [gradients.gamma, gradients.beta];
        let film = gradients.film.into_iter().flatten();
        std::iter::once(tensor(gradients.x, self.size))
            .chain(per_channel.map(|g| tensor(g, [shape.channels])))
            .chain(film.map(|g| tensor(g, [shape.batch, shape.channels])))
            .collect()
    }
}
