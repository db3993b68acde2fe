//! The operations on GPUs: every CubeCL runtime (CUDA, Vulkan, Metal) through one back end.
//!
//! Maps lie channels last in memory, whatever the order of their extents says: that is how matrix
//! units want them, and the framework's elementwise operations keep the order they find. What comes
//! in another order is copied once.

mod attention;
mod norm;
mod reduce;
mod rows;
mod tensors;
mod update;

#[cfg(feature = "cuda")]
mod cuda;
#[cfg(feature = "cuda")]
pub(crate) use cuda::calls as library_calls;

use crate::backend::{AttentionSaved, KernelBackend, NormGradients, NormInputs};
use crate::extension::Weight;
use crate::options::{AdamStep, ConvOptions, NormOptions};
use burn::backend::ops::{ConvOptions as StockOptions, FloatTensorOps, ModuleOps};
use burn::backend::{DType, TensorMetadata};
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;
use cubecl::CubeCount;
use tensors::{cast, zeros};

impl KernelBackend for CubeBackend {
    /// Mean and reciprocal deviation of each group, `[batch, groups, 2]` in f32.
    type NormStatistics = CubeTensor;
    /// The logarithm of each query's sum of exponentials, `[batch, heads, tokens, 1]` in f32.
    type AttentionStatistics = CubeTensor;

    fn convolve(
        x: CubeTensor,
        weight: Weight<Self>,
        bias: Option<CubeTensor>,
        options: ConvOptions,
    ) -> CubeTensor {
        let weight = weight.floats();
        #[cfg(feature = "cuda")]
        if let Some(cudnn) = cuda::cudnn(&x) {
            return cudnn.run(move |cudnn| cudnn.conv2d(x, weight, bias, options));
        }
        let [weight, bias] = [Some(weight), bias].map(|p| p.map(|p| cast(p, x.dtype)));
        let weight = weight.expect("given");
        <Self as ModuleOps<Self>>::conv2d(x, weight, bias, stock(options))
    }

    fn conv2d_input_grad(
        dy: CubeTensor,
        weight: CubeTensor,
        size: [usize; 4],
        options: ConvOptions,
    ) -> CubeTensor {
        #[cfg(feature = "cuda")]
        if let Some(cudnn) = cuda::cudnn(&dy) {
            return cudnn.run(move |cudnn| cudnn.conv2d_input_grad(dy, weight, size, options));
        }
        let (x, weight) = (zeros(&dy, size), cast(weight, dy.dtype));
        <Self as ModuleOps<Self>>::conv2d_x_backward(x, weight, dy, stock(options))
    }

    fn conv2d_weight_grad(
        x: CubeTensor,
        dy: CubeTensor,
        size: [usize; 4],
        bias: bool,
        (options, dtype): (ConvOptions, DType),
    ) -> (CubeTensor, Option<CubeTensor>) {
        let of_bias = bias.then(|| Self::conv2d_bias_grad(dy.clone(), dtype));
        #[cfg(feature = "cuda")]
        if let Some(cudnn) = cuda::cudnn(&dy) {
            let weight = cudnn.run(move |cudnn| cudnn.conv2d_weight_grad(x, dy, size, options));
            return (cast(weight, dtype), of_bias);
        }
        let weight = zeros(&dy, size);
        let weight =
            <Self as ModuleOps<Self>>::conv2d_weight_backward(x, weight, dy, stock(options));
        (cast(weight, dtype), of_bias)
    }

    fn conv2d_bias_grad(dy: CubeTensor, dtype: DType) -> CubeTensor {
        rows::sum_per_channel(dy, dtype)
    }

    fn group_norm(inputs: NormInputs<Self>, options: NormOptions) -> (CubeTensor, CubeTensor) {
        norm::forward(inputs, options)
    }

    fn group_norm_grad(
        inputs: NormInputs<Self>,
        statistics: &CubeTensor,
        dy: CubeTensor,
        options: NormOptions,
    ) -> NormGradients<Self> {
        norm::backward(inputs, statistics.clone(), dy, options)
    }

    fn affine(x: CubeTensor, weight: Weight<Self>, bias: Option<CubeTensor>) -> CubeTensor {
        let dtype = x.dtype;
        let y = product(x, cast(weight.floats(), dtype), dtype);
        match bias {
            Some(bias) => rows::add_to_rows(y, bias),
            None => y,
        }
    }

    fn silu(x: CubeTensor) -> CubeTensor {
        update::silu(x)
    }

    fn silu_grad(x: CubeTensor, dy: CubeTensor) -> CubeTensor {
        update::silu_grad(x, dy)
    }

    fn product(a: CubeTensor, b: CubeTensor, dtype: DType) -> CubeTensor {
        product(a, b, dtype)
    }

    fn sum_of_rows(x: CubeTensor, dtype: DType) -> CubeTensor {
        let [rows, columns] = x.shape().dims();
        rows::sum_of_rows(x, [rows, columns], dtype)
    }

    fn adam(tensors: [CubeTensor; 4], step: AdamStep) -> [CubeTensor; 3] {
        update::adam(tensors, step)
    }

    fn mix(a: CubeTensor, b: CubeTensor, kept: f64) -> CubeTensor {
        update::mix(a, b, (1.0 - kept) as f32)
    }

    fn squared_norm(tensors: Vec<CubeTensor>) -> CubeTensor {
        update::squared_norm(tensors)
    }

    fn attend_kept(inputs: [CubeTensor; 3]) -> (CubeTensor, CubeTensor) {
        attention::forward(inputs)
    }

    fn attend_grad(saved: AttentionSaved<Self>, dy: CubeTensor) -> [CubeTensor; 3] {
        attention::backward(saved, dy)
    }
}

/// The product of two batches of matrices, stored in this type.
fn product(a: CubeTensor, b: CubeTensor, dtype: DType) -> CubeTensor {
    #[cfg(feature = "cuda")]
    if let Some(cublas) = cuda::cublas(&a) {
        return cublas.run(move |cublas| {
            cublas.product(cuda::Operand::new(a), cuda::Operand::new(b), dtype)
        });
    }
    cast(CubeBackend::float_matmul(a, b), dtype)
}

/// So many cubes, in a grid whose sides every device allows.
fn cubes(count: usize) -> CubeCount {
    let side = 1 << 15;
    CubeCount::Static(count.min(side) as u32, count.div_ceil(side) as u32, 1)
}

fn stock(options: ConvOptions) -> StockOptions<2> {
    let ConvOptions { stride, padding } = options;
    StockOptions::new([stride, stride], padding, [1, 1], 1)
}
