//! Convolutions of trained classifiers, their batch normalisation folded in.

use super::weights::Weights;
use burn::tensor::{Device, Tensor, TensorData, activation::relu};

/// Extent of a convolution.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kernel {
    pub(crate) size: [usize; 2],
    pub(crate) stride: usize,
    pub(crate) padding: [usize; 2],
}

impl Kernel {
    /// Odd sizes, stride 1, the output as large as the input.
    pub(crate) const fn same(height: usize, width: usize) -> Self {
        Self {
            size: [height, width],
            stride: 1,
            padding: [height / 2, width / 2],
        }
    }

    /// The same in both directions.
    pub(crate) const fn square(size: usize, stride: usize, padding: usize) -> Self {
        Self {
            size: [size, size],
            stride,
            padding: [padding, padding],
        }
    }

    /// 3x3 without padding.
    pub(crate) const fn valid(stride: usize) -> Self {
        Self::square(3, stride, 0)
    }

    /// 3x3 with padding 1.
    pub(crate) const fn padded(stride: usize) -> Self {
        Self::square(3, stride, 1)
    }
}

/// A batch normalisation in inference, `gamma (x − mean) / sqrt(var + eps) + beta`.
pub(crate) struct BatchNorm {
    pub(crate) gamma: Vec<f32>,
    pub(crate) beta: Vec<f32>,
    pub(crate) mean: Vec<f32>,
    pub(crate) var: Vec<f32>,
    pub(crate) eps: f32,
}

/// A convolution with bias.
#[derive(Clone, Debug)]
pub(crate) struct Conv {
    weight: Tensor<4>,
    bias: Tensor<1>,
    kernel: Kernel,
}

impl Conv {
    /// A convolution of weight `[out, in, height, width]` and bias `[out]`.
    pub(crate) fn plain(weight: Tensor<4>, bias: Tensor<1>, kernel: Kernel) -> Self {
        Self {
            weight,
            bias,
            kernel,
        }
    }

    /// Reads the weight `[out, in, height, width]` and folds the normalisation after it into it:
    /// one multiplication per weight now saves one per activation later.
    pub(crate) fn folded(
        weights: &mut Weights,
        name: &str,
        [channels_in, channels_out]: [usize; 2],
        kernel: Kernel,
        norm: &BatchNorm,
        device: &Device,
    ) -> Self {
        let shape = [channels_out, channels_in, kernel.size[0], kernel.size[1]];
        let mut weight = weights.take(name, &shape);
        let filters = weight.chunks_exact_mut(shape[1..].iter().product());
        let mut bias = norm.beta.clone();
        for (i, filter) in filters.enumerate() {
            let scale = norm.gamma[i] / (norm.var[i] + norm.eps).sqrt();
            filter.iter_mut().for_each(|w| *w *= scale);
            bias[i] -= norm.mean[i] * scale;
        }
        Self {
            weight: Tensor::from_data(TensorData::new(weight, shape), device),
            bias: Tensor::from_data(TensorData::new(bias, [channels_out]), device),
            kernel,
        }
    }

    pub(crate) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let Kernel {
            stride, padding, ..
        } = self.kernel;
        let bias = Some(self.bias.clone());
        fewstep_kernels::conv2d(x, self.weight.clone(), bias, stride, padding)
    }

    pub(crate) fn forward_relu(&self, x: Tensor<4>) -> Tensor<4> {
        relu(self.forward(x))
    }
}

/// Mean over all positions: `[batch, channels, height, width]` to `[batch, channels]`.
pub(crate) fn global_average(x: Tensor<4>) -> Tensor<2> {
    let [batch, channels, height, width] = x.dims();
    x.reshape([batch, channels, height * width])
        .mean_dim(2)
        .reshape([batch, channels])
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::{Dtype, tensor::TensorView};

    #[test]
    fn folding_equals_normalising_afterwards() {
        let bytes: Vec<u8> = [2.0f32, -1.0]
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect();
        let view = TensorView::new(Dtype::F32, vec![2, 1, 1, 1], &bytes).unwrap();
        let file = safetensors::serialize([("w", view)], None).unwrap();
        let mut weights = Weights::parse(&file, "f").unwrap();
        let norm = BatchNorm {
            gamma: vec![3.0, 1.0],
            beta: vec![0.5, -0.5],
            mean: vec![1.0, 2.0],
            var: vec![3.75, 0.75],
            eps: 0.25,
        };
        let device = Device::flex();
        let conv = Conv::folded(
            &mut weights,
            "w",
            [1, 2],
            Kernel::same(1, 1),
            &norm,
            &device,
        );
        let x = Tensor::<4>::from_floats([[[[1.0, 4.0]]]], &device);
        let y: Vec<f32> = conv.forward(x).into_data().iter::<f32>().collect();
        // 3 (2x − 1) / 2 + 0.5 and (−x − 2) / 1 − 0.5
        assert_eq!(y, [2.0, 11.0, -3.5, -6.5]);
    }
}
