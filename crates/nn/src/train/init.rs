//! Initial weights as a pure function of the seed, in the framework's own layer types.

use burn::module::{Module, Param, ParamId, list_param_ids};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{
    Embedding, EmbeddingConfig, GroupNorm, GroupNormConfig, LayerNorm, LayerNormConfig,
};
use burn::nn::{Initializer, Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::{Device, Tensor, TensorData};
use fewstep_diffusion::random::{Purpose, generator};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal, Uniform};

/// A matrix of `rows` rows, row by row, as its transpose: copied, so that results have the same
/// bits as with a matrix that was made in this layout.
pub(crate) fn transposed(values: &[f32], rows: usize) -> TensorData {
    let columns = values.len() / rows.max(1);
    let of_column = |column: usize| (0..rows).map(move |row| values[row * columns + column]);
    let turned: Vec<f32> = (0..columns).flat_map(of_column).collect();
    TensorData::new(turned, [columns, rows])
}

/// Number of parameter tensors of a module.
pub(crate) fn count(module: &impl Module) -> u64 {
    list_param_ids(module).len() as u64
}

/// Makes layers one after another. The n-th parameter of a network always gets the same numbers and
/// the same identifier, on every machine, so that optimiser states can be stored and found again.
pub(crate) struct Init<'a> {
    seed: u64,
    next: u64,
    device: &'a Device,
}

impl<'a> Init<'a> {
    pub(crate) fn new(seed: u64, device: &'a Device) -> Self {
        Self::starting_at(1, seed, device)
    }

    /// The same with the first parameter of this number.
    pub(crate) fn starting_at(next: u64, seed: u64, device: &'a Device) -> Self {
        Self { seed, next, device }
    }

    /// Weights and bias uniform within ±1/√fan_in, as PyTorch does it. Padding keeps the size at
    /// stride 1.
    pub(crate) fn conv(&mut self, from: usize, to: usize, kernel: usize, stride: usize) -> Conv2d {
        let bound = 1.0 / ((from * kernel * kernel) as f64).sqrt();
        self.bounded_conv([from, to], kernel, stride, bound)
    }

    /// The same without bias.
    pub(crate) fn conv_without_bias(
        &mut self,
        from: usize,
        to: usize,
        kernel: usize,
        stride: usize,
    ) -> Conv2d {
        let mut layer = self.conv(from, to, kernel, stride);
        layer.bias = None;
        layer
    }

    /// A convolution of stride 1 whose output starts at zero.
    pub(crate) fn zero_conv(&mut self, from: usize, to: usize, kernel: usize) -> Conv2d {
        self.bounded_conv([from, to], kernel, 1, 0.0)
    }

    /// Numbers that start at zero.
    pub(crate) fn zeros(&mut self, count: usize) -> Param<Tensor<1>> {
        self.uniform([count], 0.0)
    }

    /// Weights and bias uniform within ±1/√fan_in.
    pub(crate) fn linear(&mut self, from: usize, to: usize) -> Linear {
        self.bounded_linear(from, to, 1.0 / (from as f64).sqrt())
    }

    /// A linear layer whose output starts at zero.
    pub(crate) fn zero_linear(&mut self, from: usize, to: usize) -> Linear {
        self.bounded_linear(from, to, 0.0)
    }

    /// A linear layer without bias, weights uniform within ±1/√fan_in.
    pub(crate) fn projection(&mut self, from: usize, to: usize) -> Linear {
        self.bounded_projection(from, to, 1.0 / (from as f64).sqrt())
    }

    /// A linear layer without bias whose output starts at zero.
    pub(crate) fn zero_projection(&mut self, from: usize, to: usize) -> Linear {
        self.bounded_projection(from, to, 0.0)
    }

    /// Standard normal embeddings.
    pub(crate) fn embedding(&mut self, count: usize, dim: usize) -> Embedding {
        let mut layer = EmbeddingConfig::new(count, dim)
            .with_initializer(Initializer::Zeros)
            .init(self.device);
        layer.weight = self.param([count, dim], move |rng| {
            Distribution::<f32>::sample_iter(StandardNormal, rng)
                .take(count * dim)
                .collect()
        });
        layer
    }

    /// Scale 1, shift 0, ε = 1e-5.
    pub(crate) fn group_norm(&mut self, groups: usize, channels: usize) -> GroupNorm {
        self.group_norm_with(groups, channels, 1e-5)
    }

    /// Scale 1, shift 0.
    pub(crate) fn group_norm_with(
        &mut self,
        groups: usize,
        channels: usize,
        epsilon: f64,
    ) -> GroupNorm {
        let mut layer = GroupNormConfig::new(groups, channels)
            .with_epsilon(epsilon)
            .init(self.device);
        layer.gamma = Some(self.ones(channels));
        layer.beta = Some(self.uniform([channels], 0.0));
        layer
    }

    /// Scale 1, shift 0.
    pub(crate) fn layer_norm(&mut self, width: usize, epsilon: f64) -> LayerNorm {
        let mut layer = LayerNormConfig::new(width)
            .with_epsilon(epsilon)
            .init(self.device);
        layer.gamma = self.ones(width);
        layer.beta = Some(self.uniform([width], 0.0));
        layer
    }

    fn bounded_conv(
        &mut self,
        channels: [usize; 2],
        kernel: usize,
        stride: usize,
        bound: f64,
    ) -> Conv2d {
        let [from, to] = channels;
        let pad = kernel / 2;
        let mut layer = Conv2dConfig::new(channels, [kernel, kernel])
            .with_stride([stride, stride])
            .with_padding(PaddingConfig2d::Explicit(pad, pad, pad, pad))
            .with_initializer(Initializer::Zeros)
            .init(self.device);
        layer.weight = self.uniform([to, from, kernel, kernel], bound);
        layer.bias = Some(self.uniform([to], bound));
        layer
    }

    fn bounded_projection(&mut self, from: usize, to: usize, bound: f64) -> Linear {
        let mut layer = LinearConfig::new(from, to)
            .with_bias(false)
            .with_initializer(Initializer::Zeros)
            .init(self.device);
        layer.weight = self.uniform([from, to], bound);
        layer
    }

    fn bounded_linear(&mut self, from: usize, to: usize, bound: f64) -> Linear {
        let mut layer = LinearConfig::new(from, to)
            .with_initializer(Initializer::Zeros)
            .init(self.device);
        layer.weight = self.uniform([from, to], bound);
        layer.bias = Some(self.uniform([to], bound));
        layer
    }

    fn ones(&mut self, channels: usize) -> Param<Tensor<1>> {
        self.param([channels], move |_| vec![1.0; channels])
    }

    fn uniform<const D: usize>(&mut self, shape: [usize; D], bound: f64) -> Param<Tensor<D>> {
        let count = shape.iter().product();
        self.param(shape, move |rng| {
            match Uniform::new_inclusive(-bound as f32, bound as f32) {
                Ok(uniform) if bound > 0.0 => uniform.sample_iter(rng).take(count).collect(),
                _ => vec![0.0; count],
            }
        })
    }

    /// A parameter whose values are drawn on first use: weights that are read from a file are never
    /// drawn.
    fn param<const D: usize>(
        &mut self,
        shape: [usize; D],
        values: impl FnOnce(ChaCha8Rng) -> Vec<f32> + Send + Sync + 'static,
    ) -> Param<Tensor<D>> {
        let (seed, id) = (self.seed, self.next);
        self.next += 1;
        let draw = move |device: &Device, require_grad: bool| {
            let values = values(generator(seed, id, Purpose::Initialisation));
            let tensor = Tensor::from_data(TensorData::new(values, shape), device);
            tensor.set_require_grad(require_grad)
        };
        let trained = self.device.is_autodiff();
        Param::uninitialized(
            ParamId::from(id),
            draw,
            self.device.clone(),
            trained,
            shape.into(),
        )
    }
}
