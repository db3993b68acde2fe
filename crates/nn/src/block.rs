//! Residual and attention blocks.

use crate::UNetConfig;
use crate::init::Init;
use crate::resample::conv;
use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::nn::{GroupNorm, Linear};
use burn::tensor::{Distribution, Tensor, activation::silu};
use fewstep_kernels::Film;

/// Two convolutions around a residual connection; the embedding modulates the second normalisation (FiLM).
/// The second convolution starts at zero, so a new block is the identity.
#[derive(Module, Debug)]
pub(crate) struct ResnetBlock {
    norm1: GroupNorm,
    conv1: Conv2d,
    time_emb_proj: Linear,
    norm2: GroupNorm,
    conv2: Conv2d,
    conv_shortcut: Option<Conv2d>,
    #[module(skip)]
    dropout: f64,
}

impl ResnetBlock {
    pub(crate) fn new(init: &mut Init, config: &UNetConfig, from: usize, to: usize) -> Self {
        Self {
            norm1: init.group_norm(config.groups, from),
            conv1: init.conv(from, to, 3, 1),
            time_emb_proj: init.linear(config.embedding_dim(), 2 * to),
            norm2: init.group_norm(config.groups, to),
            conv2: init.zero_conv(to, to, 3),
            conv_shortcut: (from != to).then(|| init.conv(from, to, 1, 1)),
            dropout: config.dropout,
        }
    }

    /// # Shapes
    /// - `x`: `[batch, from, height, width]`
    /// - `embedding`: `[batch, embedding_dim]`
    /// - output: `[batch, to, height, width]`
    pub(crate) fn forward(&self, x: Tensor<4>, embedding: Tensor<2>) -> Tensor<4> {
        self.forward_resampled(x, embedding, |x| x)
    }

    /// The same with a change of resolution before the first convolution and on the residual connection.
    pub(crate) fn forward_resampled(
        &self,
        x: Tensor<4>,
        embedding: Tensor<2>,
        resample: fn(Tensor<4>) -> Tensor<4>,
    ) -> Tensor<4> {
        let h = norm_silu(&self.norm1, x.clone(), None);
        let h = conv(&self.conv1, resample(h));
        let film = self.time_emb_proj.forward(silu(embedding)).chunk(2, 1);
        let film = Film {
            scale: film[0].clone(),
            shift: film[1].clone(),
        };
        let h = norm_silu(&self.norm2, h, Some(film));
        let h = conv(&self.conv2, dropout(h, self.dropout));
        let x = resample(x);
        match &self.conv_shortcut {
            Some(shortcut) => conv(shortcut, x) + h,
            None => x + h,
        }
    }
}

/// Self-attention over all positions of a map, around a residual connection. The output projection starts at
/// zero, so a new block is the identity.
#[derive(Module, Debug)]
pub(crate) struct AttentionBlock {
    group_norm: GroupNorm,
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: Vec<Linear>,
    #[module(skip)]
    heads: usize,
}

impl AttentionBlock {
    pub(crate) fn new(init: &mut Init, config: &UNetConfig, width: usize) -> Self {
        Self {
            group_norm: init.group_norm(config.groups, width),
            to_q: init.linear(width, width),
            to_k: init.linear(width, width),
            to_v: init.linear(width, width),
            to_out: vec![init.zero_linear(width, width)],
            heads: width / config.head,
        }
    }

    /// # Shapes
    /// - `x` and output: `[batch, width, height, width]`
    pub(crate) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [batch, channels, height, width] = x.dims();
        let positions = height * width;
        let norm = &self.group_norm;
        let h = match (&norm.gamma, &norm.beta) {
            (Some(gamma), Some(beta)) => fewstep_kernels::group_norm(
                x.clone(),
                gamma.val(),
                beta.val(),
                norm.num_groups,
                norm.epsilon,
            ),
            _ => norm.forward(x.clone()),
        };
        let tokens = h.reshape([batch, channels, positions]).swap_dims(1, 2);
        let split = |layer: &Linear| {
            let h = layer.forward(tokens.clone());
            let per_head = [batch, positions, self.heads, channels / self.heads];
            h.reshape(per_head).swap_dims(1, 2)
        };
        let h = fewstep_kernels::attention(split(&self.to_q), split(&self.to_k), split(&self.to_v));
        let h = h.swap_dims(1, 2).reshape([batch, positions, channels]);
        let h = self.to_out.iter().fold(h, |h, layer| layer.forward(h));
        x + h.swap_dims(1, 2).reshape([batch, channels, height, width])
    }
}

/// Group normalisation, FiLM and SiLU through our kernels.
pub(crate) fn norm_silu(norm: &GroupNorm, x: Tensor<4>, film: Option<Film>) -> Tensor<4> {
    let affine = norm.gamma.as_ref().zip(norm.beta.as_ref());
    let (gamma, beta) = affine.expect("our networks normalise with an affine map");
    fewstep_kernels::group_norm_silu(
        x,
        gamma.val(),
        beta.val(),
        norm.num_groups,
        norm.epsilon,
        film,
    )
}

/// Drops features while training (that is, on a device with autodiff). The framework's generator is seeded by
/// the training loop at every update, so that the mask is a function of seed and update.
fn dropout(x: Tensor<4>, probability: f64) -> Tensor<4> {
    if probability == 0.0 || !x.device().is_autodiff() {
        return x;
    }
    let keep = x.random_like(Distribution::Bernoulli(1.0 - probability));
    x * keep * (1.0 / (1.0 - probability))
}
