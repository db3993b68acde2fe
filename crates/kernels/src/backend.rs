//! What a back end must have for the operations of this crate: each forward pass, and its
//! gradients.

use crate::extension::Weight;
use crate::options::{AdamStep, ConvOptions, NormOptions};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, DType, TensorMetadata};

/// FiLM's scale and shift, `[batch, channels]` each.
pub(crate) type Film<B> = Option<[FloatTensor<B>; 2]>;

/// The inputs of a group normalisation.
#[derive(Clone)]
pub(crate) struct NormInputs<B: Backend> {
    /// `[batch, channels, height, width]`.
    pub(crate) x: FloatTensor<B>,
    /// `[channels]` each.
    pub(crate) gamma: FloatTensor<B>,
    pub(crate) beta: FloatTensor<B>,
    pub(crate) film: Film<B>,
}

impl<B: Backend> NormInputs<B> {
    /// From three tensors (x, gamma, beta), or five with FiLM's scale and shift.
    pub(crate) fn from_array<const N: usize>(inputs: [FloatTensor<B>; N]) -> Self {
        let mut inputs = inputs.into_iter();
        let mut next = || inputs.next();
        let three = next().zip(next()).zip(next());
        let ((x, gamma), beta) = three.expect("at least three inputs");
        let film = next().zip(next());
        Self {
            x,
            gamma,
            beta,
            film: film.map(|(scale, shift)| [scale, shift]),
        }
    }
}

/// Gradients of a group normalisation, in the order of its inputs.
pub(crate) struct NormGradients<B: Backend> {
    pub(crate) x: FloatTensor<B>,
    pub(crate) gamma: FloatTensor<B>,
    pub(crate) beta: FloatTensor<B>,
    pub(crate) film: Film<B>,
}

/// Queries, keys and values, the output, and the statistics that the forward pass kept.
pub(crate) struct AttentionSaved<B: KernelBackend> {
    pub(crate) inputs: [FloatTensor<B>; 3],
    pub(crate) output: FloatTensor<B>,
    pub(crate) statistics: B::AttentionStatistics,
}

/// The operations and their gradients on tensors of one back end.
pub(crate) trait KernelBackend: Backend {
    /// What a normalisation keeps of its forward pass: mean and deviation of each group.
    type NormStatistics: Clone + Send + std::fmt::Debug + 'static;
    /// What attention keeps of its forward pass, besides inputs and output.
    type AttentionStatistics: Clone + Send + std::fmt::Debug + 'static;

    /// Weight and bias may be of another type than the input.
    fn convolve(
        x: FloatTensor<Self>,
        weight: Weight<Self>,
        bias: Option<FloatTensor<Self>>,
        options: ConvOptions,
    ) -> FloatTensor<Self>;

    /// The gradient of the input, of this size. The weight may be of another type.
    fn conv2d_input_grad(
        dy: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        size: [usize; 4],
        options: ConvOptions,
    ) -> FloatTensor<Self>;

    /// The gradients of the weight, of this size, and of the bias if `bias` is set, in this type.
    fn conv2d_weight_grad(
        x: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        size: [usize; 4],
        bias: bool,
        options: (ConvOptions, DType),
    ) -> (FloatTensor<Self>, Option<FloatTensor<Self>>);

    /// The gradient of the bias, in this type.
    fn conv2d_bias_grad(dy: FloatTensor<Self>, dtype: DType) -> FloatTensor<Self>;

    fn group_norm(
        inputs: NormInputs<Self>,
        options: NormOptions,
    ) -> (FloatTensor<Self>, Self::NormStatistics);

    fn group_norm_grad(
        inputs: NormInputs<Self>,
        statistics: &Self::NormStatistics,
        dy: FloatTensor<Self>,
        options: NormOptions,
    ) -> NormGradients<Self>;

    /// A tensor in another type.
    fn cast_to(x: FloatTensor<Self>, dtype: DType) -> FloatTensor<Self> {
        match x.dtype() == dtype {
            true => x,
            false => Self::float_cast(x, dtype.into()),
        }
    }

    /// A linear layer `[rows, from]` to `[rows, to]`. The weight may be of another type than `x`.
    fn affine(
        x: FloatTensor<Self>,
        weight: Weight<Self>,
        bias: Option<FloatTensor<Self>>,
    ) -> FloatTensor<Self>;

    /// x σ(x). GPUs only.
    fn silu(_x: FloatTensor<Self>) -> FloatTensor<Self> {
        unimplemented!("a kernel of GPUs only")
    }

    /// The gradient of x σ(x). GPUs only.
    fn silu_grad(_x: FloatTensor<Self>, _dy: FloatTensor<Self>) -> FloatTensor<Self> {
        unimplemented!("a kernel of GPUs only")
    }

    /// A map with every position four times. CPUs only.
    fn double(_x: FloatTensor<Self>) -> FloatTensor<Self> {
        unimplemented!("a kernel of CPUs only")
    }

    /// The gradient of a map of which every position was there four times. CPUs only.
    fn double_grad(_dy: FloatTensor<Self>) -> FloatTensor<Self> {
        unimplemented!("a kernel of CPUs only")
    }

    /// The product of two matrices, stored in this type. GPUs only.
    fn product(_a: FloatTensor<Self>, _b: FloatTensor<Self>, _dtype: DType) -> FloatTensor<Self> {
        unimplemented!("a kernel of GPUs only")
    }

    /// The sum of the rows of a matrix, in this type. GPUs only.
    fn sum_of_rows(_x: FloatTensor<Self>, _dtype: DType) -> FloatTensor<Self> {
        unimplemented!("a kernel of GPUs only")
    }

    /// Parameter and moments after an update, from parameter, gradient and moments.
    fn adam(tensors: [FloatTensor<Self>; 4], step: AdamStep) -> [FloatTensor<Self>; 3];

    /// kept a + (1 − kept) b.
    fn mix(a: FloatTensor<Self>, b: FloatTensor<Self>, kept: f64) -> FloatTensor<Self>;

    /// The sum of the squares of all elements, `[1]`. GPUs only.
    fn squared_norm(_tensors: Vec<FloatTensor<Self>>) -> FloatTensor<Self> {
        unimplemented!("a kernel of GPUs only")
    }

    /// Attention without a graph: nothing is kept.
    fn attend(inputs: [FloatTensor<Self>; 3]) -> FloatTensor<Self> {
        Self::attend_kept(inputs).0
    }

    fn attend_kept(
        inputs: [FloatTensor<Self>; 3],
    ) -> (FloatTensor<Self>, Self::AttentionStatistics);

    /// The gradients of queries, keys and values.
    fn attend_grad(saved: AttentionSaved<Self>, dy: FloatTensor<Self>) -> [FloatTensor<Self>; 3];
}

/// The four extents of a tensor of rank four.
pub(crate) fn size<T: TensorMetadata>(tensor: &T) -> [usize; 4] {
    tensor.shape().dims()
}
