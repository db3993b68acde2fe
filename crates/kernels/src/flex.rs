//! The CPU backend: its tensors' storage as slices, and the kernels on them.

use crate::backend::{AttentionSaved, KernelBackend, NormGradients, NormInputs, size};
use crate::cpu::dot::Dot;
use crate::cpu::simd::Isa;
use crate::cpu::weights::{Blocks, Weights};
use crate::cpu::{attention, conv, gelu, linear, matmul, norm, resample, tokens, update};
use crate::extension::Weight;
use crate::options::{AdamStep, ConvOptions, NormOptions};
use crate::precision;
use crate::q8;
use burn::backend::flex::{FlexQTensor, FlexTensor};
use burn::backend::{
    BackendTensor, DType, DispatchKindConversion, DispatchTensor, Flex, TensorMetadata,
};
use burn::tensor::{Shape, Tensor, TensorData};
use std::sync::Arc;

/// A tensor whose elements are in order, without gaps.
struct Floats(FlexTensor);

impl Floats {
    /// Copies only if the tensor is a view that skips or reorders elements.
    fn new(tensor: FlexTensor) -> Self {
        if tensor.is_contiguous() {
            return Self(tensor);
        }
        Self(some_of_each(&tensor).unwrap_or_else(|| tensor.to_contiguous()))
    }

    fn slice(&self) -> &[f32] {
        self.0
            .as_slice()
            .expect("contiguous f32: checked before the kernels are called")
    }
}

/// A copy of a view whose rows, of all axes but the first, lie in order; none for others. Gradients of joined
/// maps are such views, which the framework copies element by element.
fn some_of_each(tensor: &FlexTensor) -> Option<FlexTensor> {
    if tensor.dtype() != DType::F32 {
        return None;
    }
    let (shape, layout) = (tensor.shape(), tensor.layout());
    let (&step, steps) = layout.strides().split_first()?;
    let mut len = 1;
    for (&size, &step) in shape[1..].iter().zip(steps).rev() {
        if size > 1 && step != len as isize {
            return None;
        }
        len *= size;
    }
    let (step, start) = (usize::try_from(step).ok()?, layout.start_offset());
    let values: &[f32] = tensor.storage();
    let mut copied = Vec::with_capacity(shape[0] * len);
    for row in 0..shape[0] {
        copied.extend_from_slice(&values[start + row * step..][..len]);
    }
    Some(FlexTensor::from_data(TensorData::new(copied, shape)))
}

/// A weight whose elements are in order, without gaps, as it is stored.
enum Stored {
    Floats(FlexTensor),
    Blocks(FlexQTensor),
}

impl Stored {
    fn new(weight: Weight<Flex>) -> Self {
        match weight {
            Weight::Floats(weight) => Self::Floats(Floats::new(weight).0),
            Weight::Blocks(weight) => Self::Blocks(weight),
        }
    }

    fn shape(&self) -> Shape {
        match self {
            Self::Floats(weight) => weight.shape(),
            Self::Blocks(weight) => weight.shape(),
        }
    }

    fn weights(&self) -> Weights<'_> {
        let weights = match self {
            Self::Floats(weight) => match weight.dtype() {
                DType::F16 => weight.as_slice().map(Weights::F16),
                DType::BF16 => weight.as_slice().map(Weights::Bf16),
                _ => weight.as_slice().map(Weights::F32),
            },
            Self::Blocks(weight) => {
                let [_, behind] = q8::extents(&weight.shape().to_vec()).expect("whole blocks");
                weight.tensor().as_slice().map(|numbers| {
                    Weights::Q8(Blocks {
                        numbers,
                        scales: weight.scales(),
                        behind,
                    })
                })
            }
        };
        weights.expect("contiguous, of a type that is checked before the kernels are called")
    }
}

/// A tensor around a kernel's result.
fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}

impl KernelBackend for Flex {
    type NormStatistics = Arc<Vec<norm::Moments>>;
    /// The logarithms of each query's sum of exponentials.
    type AttentionStatistics = Arc<Vec<f32>>;

    fn convolve(
        x: FlexTensor,
        weight: Weight<Flex>,
        bias: Option<FlexTensor>,
        options: ConvOptions,
    ) -> FlexTensor {
        let (x, weight, bias) = (Floats::new(x), Stored::new(weight), bias.map(Floats::new));
        let shape = conv_shape(size(&x.0), weight.shape().dims(), options);
        let bias = bias.as_ref().map(Floats::slice);
        let y = conv::forward(Isa::best(), &shape, x.slice(), weight.weights(), bias);
        let [height, width] = shape.output();
        tensor(y, [shape.batch, shape.channels_out, height, width])
    }

    fn affine(x: FlexTensor, weight: Weight<Flex>, bias: Option<FlexTensor>) -> FlexTensor {
        let (x, weight, bias) = (Floats::new(x), Stored::new(weight), bias.map(Floats::new));
        let ([rows, from], [_, to]) = (x.0.shape().dims(), weight.shape().dims());
        let bias = bias.as_ref().map(Floats::slice);
        let (isa, dot, size) = (Isa::best(), precision::dot(), [from, to]);
        let y = match weight {
            Stored::Floats(_) if dot.is_none() => {
                matmul::forward(size, x.slice(), weight.weights(), bias)
            }
            _ => linear::forward(isa, dot, size, x.slice(), weight.weights(), bias),
        };
        tensor(y, [rows, to])
    }

    fn double(x: FlexTensor) -> FlexTensor {
        let x = Floats::new(x);
        let [batch, channels, height, width] = size(&x.0);
        let y = resample::double(x.slice(), width);
        tensor(y, [batch, channels, 2 * height, 2 * width])
    }

    fn double_grad(dy: FlexTensor) -> FlexTensor {
        let dy = Floats::new(dy);
        let [batch, channels, height, width] = size(&dy.0);
        let dx = resample::double_grad(dy.slice(), width / 2);
        tensor(dx, [batch, channels, height / 2, width / 2])
    }

    fn conv2d_input_grad(
        dy: FlexTensor,
        weight: FlexTensor,
        size_in: [usize; 4],
        options: ConvOptions,
    ) -> FlexTensor {
        let shape = conv_shape(size_in, size(&weight), options);
        let weight = Self::cast_to(weight, DType::F32);
        let (dy, weight) = (Floats::new(dy), Floats::new(weight));
        let dx = conv::input_grad(Isa::best(), &shape, dy.slice(), weight.slice());
        tensor(dx, size_in)
    }

    fn conv2d_weight_grad(
        x: FlexTensor,
        dy: FlexTensor,
        weight_size: [usize; 4],
        bias: bool,
        (options, dtype): (ConvOptions, DType),
    ) -> (FlexTensor, Option<FlexTensor>) {
        let shape = conv_shape(size(&x), weight_size, options);
        let (x, dy) = (Floats::new(x), Floats::new(dy));
        let gradients = conv::weight_grad(Isa::best(), &shape, x.slice(), dy.slice());
        let of_bias = bias.then(|| tensor(gradients.bias, [shape.channels_out]));
        let of_weight = tensor(gradients.weight, weight_size);
        (Self::cast_to(of_weight, dtype), of_bias)
    }

    fn conv2d_bias_grad(dy: FlexTensor, _: DType) -> FlexTensor {
        let [_, channels, height, width] = size(&dy);
        let bias = conv::bias_grad(channels, height * width, Floats::new(dy).slice());
        tensor(bias, [channels])
    }

    fn group_norm(
        inputs: NormInputs<Self>,
        options: NormOptions,
    ) -> (FlexTensor, Self::NormStatistics) {
        let (y, moments) = Norm::new(inputs).forward(options);
        (y, Arc::new(moments))
    }

    fn group_norm_grad(
        inputs: NormInputs<Self>,
        statistics: &Self::NormStatistics,
        dy: FlexTensor,
        options: NormOptions,
    ) -> NormGradients<Self> {
        Norm::new(inputs).backward(options, statistics, &Floats::new(dy))
    }

    fn adam(tensors: [FlexTensor; 4], step: AdamStep) -> [FlexTensor; 3] {
        let shape = tensors[0].shape();
        let tensors = tensors.map(Floats::new);
        let results = update::adam(tensors.each_ref().map(Floats::slice), step);
        results.map(|values| FlexTensor::from_data(TensorData::new(values, shape.clone())))
    }

    fn mix(a: FlexTensor, b: FlexTensor, kept: f64) -> FlexTensor {
        let shape = a.shape();
        let (a, b) = (Floats::new(a), Floats::new(b));
        let mixed = update::mix(a.slice(), b.slice(), kept);
        FlexTensor::from_data(TensorData::new(mixed, shape))
    }

    fn attend(inputs: [FlexTensor; 3]) -> FlexTensor {
        attend(inputs, precision::dot()).0
    }

    fn attend_kept(inputs: [FlexTensor; 3]) -> (FlexTensor, Self::AttentionStatistics) {
        let (y, sums) = attend(inputs, None);
        (y, Arc::new(sums))
    }

    fn attend_grad(saved: AttentionSaved<Self>, dy: FlexTensor) -> [FlexTensor; 3] {
        let sizes = saved.inputs.each_ref().map(size);
        let shape = attention_shape(&saved.inputs);
        let ([q, k, v], output) = (saved.inputs.map(Floats::new), Floats::new(saved.output));
        let kept = attention::Saved {
            q: q.slice(),
            k: k.slice(),
            v: v.slice(),
            output: output.slice(),
            sums: &saved.statistics,
        };
        let dy = Floats::new(dy);
        let gradients = attention::backward(Isa::best(), &shape, kept, dy.slice());
        let mut sizes = sizes.into_iter();
        gradients.map(|gradient| tensor(gradient, sizes.next().expect("three of each")))
    }
}

/// A kernel without a gradient, for a tensor on the CPU without a graph.
pub(crate) fn apply<const D: usize, const E: usize>(
    x: Tensor<D>,
    kernel: impl FnOnce(FlexTensor) -> FlexTensor,
) -> Tensor<E> {
    let x = <DispatchTensor as DispatchKindConversion<Flex>>::try_into_backend(x.into_dispatch());
    let x = x.expect("a tensor on the CPU without a graph").float();
    let y = BackendTensor::<Flex>::Float(kernel(x));
    Tensor::from_dispatch(DispatchTensor::from_backend(y))
}

/// `[images, rows, columns]` to `[images, columns, rows]`, in order and without gaps.
pub(crate) fn transposed(x: FlexTensor) -> FlexTensor {
    let x = Floats::new(x);
    let [images, rows, columns] = x.0.shape().dims();
    let y = tokens::transposed(Isa::best(), x.slice(), [rows, columns]);
    tensor(y, [images, columns, rows])
}

/// One half of each row times GELU of the other.
pub(crate) fn geglu(x: FlexTensor) -> FlexTensor {
    let x = Floats::new(x);
    let mut shape = x.0.shape().to_vec();
    let row = shape.last_mut().expect("an axis that is cut into halves");
    let y = gelu::geglu(Isa::best(), x.slice(), *row);
    *row /= 2;
    FlexTensor::from_data(TensorData::new(y, shape))
}

/// Attention, with the logarithms of each query's sum of exponentials.
fn attend(inputs: [FlexTensor; 3], dot: Option<Dot>) -> (FlexTensor, Vec<f32>) {
    let (size, shape) = (size(&inputs[0]), attention_shape(&inputs));
    let heads = inputs.map(Heads::new);
    let heads = heads.each_ref().map(Heads::as_they_lie);
    let (y, sums) = attention::forward(Isa::best(), dot, &shape, heads);
    let [batch, heads, tokens, dim] = size;
    let y = tensor(y, [batch, tokens, heads, dim]).transpose(1, 2);
    (y, sums)
}

fn conv_shape(
    [batch, channels_in, height, width]: [usize; 4],
    [channels_out, _, kernel_h, kernel_w]: [usize; 4],
    options: ConvOptions,
) -> conv::Shape {
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

fn attention_shape([q, k, _]: &[FlexTensor; 3]) -> attention::Shape {
    let ([batch, heads, tokens, dim], [_, _, context, _]) = (size(q), size(k));
    attention::Shape {
        heads: batch * heads,
        tokens,
        context,
        dim,
    }
}

/// The queries, keys or values of heads.
struct Heads(FlexTensor);

impl Heads {
    /// Copies only if a row is not in order: heads of a linear layer's output are read where they are.
    fn new(tensor: FlexTensor) -> Self {
        let steps = tensor.layout().strides();
        let forward = steps.iter().all(|&step| step >= 0);
        Self(match forward && steps[3] == 1 {
            true => tensor,
            false => Floats::new(tensor).0,
        })
    }

    fn as_they_lie(&self) -> attention::Heads<'_> {
        let layout = self.0.layout();
        let steps = layout.strides();
        attention::Heads {
            values: &self.0.storage()[layout.start_offset()..],
            per_image: size(&self.0)[1],
            steps: [0, 1, 2].map(|axis| steps[axis] as usize),
        }
    }
}

/// The inputs of a group normalisation, in order and without gaps.
struct Norm {
    x: Floats,
    gamma: Floats,
    beta: Floats,
    film: Option<[Floats; 2]>,
    size: [usize; 4],
}

impl Norm {
    fn new(inputs: NormInputs<Flex>) -> Self {
        Self {
            size: size(&inputs.x),
            x: Floats::new(inputs.x),
            gamma: Floats::new(inputs.gamma),
            beta: Floats::new(inputs.beta),
            film: inputs.film.map(|film| film.map(Floats::new)),
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

    fn epilogue(&self, options: NormOptions) -> norm::Epilogue<'_> {
        norm::Epilogue {
            gamma: self.gamma.slice(),
            beta: self.beta.slice(),
            film: self.film.as_ref().map(|[scale, shift]| norm::Film {
                scale: scale.slice(),
                shift: shift.slice(),
            }),
            silu: options.silu,
        }
    }

    fn forward(&self, options: NormOptions) -> (FlexTensor, Vec<norm::Moments>) {
        let (shape, epilogue) = (self.shape(options), self.epilogue(options));
        let (y, moments) =
            norm::forward(Isa::best(), &shape, options.eps, self.x.slice(), epilogue);
        (tensor(y, self.size), moments)
    }

    fn backward(
        &self,
        options: NormOptions,
        moments: &[norm::Moments],
        dy: &Floats,
    ) -> NormGradients<Flex> {
        let (shape, epilogue) = (self.shape(options), self.epilogue(options));
        let x = self.x.slice();
        let gradients = norm::backward(Isa::best(), &shape, x, moments, epilogue, dy.slice());
        let per_sample = [shape.batch, shape.channels];
        NormGradients {
            x: tensor(gradients.x, self.size),
            gamma: tensor(gradients.gamma, [shape.channels]),
            beta: tensor(gradients.beta, [shape.channels]),
            film: gradients
                .film
                .map(|film| film.map(|gradient| tensor(gradient, per_sample))),
        }
    }
}
