//! Residual and attention blocks.

use crate::Modulation;
use crate::layers::resample::conv;
use crate::train::checkpointing::{BlockInputs, recomputed};
use crate::train::init::Init;
use crate::train::precision::upcast;
use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::nn::{GroupNorm, Linear};
use burn::tensor::activation::softmax;
use burn::tensor::{Bool, Distribution, FloatDType, Tensor};
use fewstep_kernels::Film;
use fewstep_kernels::maps::{to_map, to_tokens};
use fewstep_kernels::silu;

/// What the residual blocks of a network have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResnetOptions {
    pub(crate) groups: usize,
    pub(crate) epsilon: f64,
    /// Size of the embedding and how it enters; an autoencoder has none.
    pub(crate) embedding: Option<(usize, Modulation)>,
    pub(crate) dropout: f64,
}

/// Two convolutions around a residual connection; the embedding modulates the second normalisation.
/// The second convolution starts at zero, so a new block is the identity.
#[derive(Module, Debug)]
pub(crate) struct ResnetBlock {
    norm1: GroupNorm,
    conv1: Conv2d,
    time_emb_proj: Option<Linear>,
    norm2: GroupNorm,
    conv2: Conv2d,
    conv_shortcut: Option<Conv2d>,
    #[module(skip)]
    modulation: Modulation,
    #[module(skip)]
    dropout: f64,
}

impl ResnetBlock {
    pub(crate) fn new(init: &mut Init, options: ResnetOptions, from: usize, to: usize) -> Self {
        let norm =
            |init: &mut Init, width| init.group_norm_with(options.groups, width, options.epsilon);
        let projection = |init: &mut Init, (dim, modulation)| match modulation {
            Modulation::Film => init.linear(dim, 2 * to),
            Modulation::Add => init.linear(dim, to),
        };
        Self {
            norm1: norm(init, from),
            conv1: init.conv(from, to, 3, 1),
            time_emb_proj: options.embedding.map(|e| projection(init, e)),
            norm2: norm(init, to),
            conv2: init.zero_conv(to, to, 3),
            conv_shortcut: (from != to).then(|| init.conv(from, to, 1, 1)),
            modulation: options.embedding.map(|e| e.1).unwrap_or_default(),
            dropout: options.dropout,
        }
    }

    /// # Shapes
    /// - `x`: `[batch, from, height, width]`
    /// - `embedding`: `[batch, embedding_dim]`, where the block takes one
    /// - output: `[batch, to, height, width]`
    pub(crate) fn forward(&self, x: Tensor<4>, embedding: Option<&Tensor<2>>) -> Tensor<4> {
        self.forward_resampled(x, embedding, |x| x)
    }

    /// The same with a change of resolution before the first convolution and on the residual connection.
    pub(crate) fn forward_resampled(
        &self,
        x: Tensor<4>,
        embedding: Option<&Tensor<2>>,
        resample: fn(Tensor<4>) -> Tensor<4>,
    ) -> Tensor<4> {
        let block = upcast(self, &x);
        if self.dropout > 0.0 {
            return block.compute(x, embedding, resample);
        }
        let inputs = BlockInputs {
            embedding,
            text: None,
        };
        recomputed(&*block, x, inputs, move |block, x, inputs| {
            block.compute(x, inputs.embedding, resample)
        })
    }

    fn compute(
        &self,
        x: Tensor<4>,
        embedding: Option<&Tensor<2>>,
        resample: fn(Tensor<4>) -> Tensor<4>,
    ) -> Tensor<4> {
        let h = norm_silu(&self.norm1, x.clone(), None);
        let h = conv(&self.conv1, resample(h));
        let embedding = self.time_emb_proj.as_ref().zip(embedding);
        let embedding = embedding.map(|(layer, e)| linear(layer, silu(e.clone())));
        let h = match (embedding, self.modulation) {
            (None, _) => norm_silu(&self.norm2, h, None),
            (Some(e), Modulation::Film) => norm_silu(&self.norm2, h, Some(film(e))),
            (Some(e), Modulation::Add) => {
                let e = e.cast(FloatDType::from(h.dtype()));
                norm_silu(&self.norm2, h + e.unsqueeze_dims::<4>(&[2, 3]), None)
            }
        };
        let h = conv(&self.conv2, dropout(h, self.dropout));
        let x = resample(x);
        match &self.conv_shortcut {
            Some(shortcut) => conv(shortcut, x) + h,
            None => x + h,
        }
    }
}

/// Scale and shift out of one projection.
fn film(embedding: Tensor<2>) -> Film {
    let halves = embedding.chunk(2, 1);
    Film {
        scale: halves[0].clone(),
        shift: halves[1].clone(),
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
    pub(crate) fn new(init: &mut Init, options: ResnetOptions, width: usize, heads: usize) -> Self {
        Self {
            group_norm: init.group_norm_with(options.groups, width, options.epsilon),
            to_q: init.linear(width, width),
            to_k: init.linear(width, width),
            to_v: init.linear(width, width),
            to_out: vec![init.zero_linear(width, width)],
            heads,
        }
    }

    /// # Shapes
    /// - `x` and output: `[batch, width, height, width]`
    pub(crate) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [_, _, height, width] = x.dims();
        let tokens = to_tokens(norm(&self.group_norm, x.clone()));
        let project = |layer: &Linear| linear(layer, tokens.clone());
        let [q, k, v] = [&self.to_q, &self.to_k, &self.to_v].map(project);
        let h = attend(self.heads, q, k, v);
        let h = self.to_out.iter().fold(h, |h, layer| linear(layer, h));
        x + to_map(h, height, width)
    }
}

/// Attention with several heads.
///
/// # Shapes
/// - `q` and output: `[batch, tokens, width]`
/// - `k`, `v`: `[batch, context, width]`
pub(crate) fn attend(heads: usize, q: Tensor<3>, k: Tensor<3>, v: Tensor<3>) -> Tensor<3> {
    let [q, k, v] = [q, k, v].map(|x| split_heads(x, heads));
    merge_heads(fewstep_kernels::attention(q, k, v))
}

/// Attention of several heads that does not see what the mask hides (where it is true).
///
/// # Shapes
/// - `q`, `k`, `v` and output: `[batch, tokens, width]`
/// - `hidden`: `[batch or 1, 1, tokens or 1, tokens]`
pub(crate) fn masked_attention(
    heads: usize,
    [q, k, v]: [Tensor<3>; 3],
    hidden: Tensor<4, Bool>,
) -> Tensor<3> {
    let [q, k, v] = [q, k, v].map(|x| split_heads(x, heads));
    let scale = 1.0 / (q.dims()[3] as f64).sqrt();
    let scores = q.matmul(k.swap_dims(2, 3)) * scale;
    let hidden = hidden.expand(scores.dims());
    let shares = softmax(scores.mask_fill(hidden, f32::NEG_INFINITY), 3);
    merge_heads(shares.matmul(v))
}

/// `[batch, tokens, width]` to `[batch, heads, tokens, width / heads]`.
fn split_heads(x: Tensor<3>, heads: usize) -> Tensor<4> {
    let [batch, tokens, width] = x.dims();
    x.reshape([batch, tokens, heads, width / heads])
        .swap_dims(1, 2)
}

/// The inverse of [`split_heads`].
fn merge_heads(x: Tensor<4>) -> Tensor<3> {
    let [batch, heads, tokens, dim] = x.dims();
    x.swap_dims(1, 2).reshape([batch, tokens, heads * dim])
}

/// A linear layer through our kernels, with its parameters rounded to the type of `x`.
pub(crate) fn linear<const D: usize>(layer: &Linear, x: Tensor<D>) -> Tensor<D> {
    let bias = layer.bias.as_ref().map(|bias| bias.val());
    fewstep_kernels::linear(x, layer.weight.val(), bias)
}

/// Group normalisation through our kernels.
pub(crate) fn norm(norm: &GroupNorm, x: Tensor<4>) -> Tensor<4> {
    let (gamma, beta) = affine(norm);
    fewstep_kernels::group_norm(x, gamma, beta, norm.num_groups, norm.epsilon)
}

/// Group normalisation, FiLM and SiLU through our kernels.
pub(crate) fn norm_silu(norm: &GroupNorm, x: Tensor<4>, film: Option<Film>) -> Tensor<4> {
    let (gamma, beta) = affine(norm);
    fewstep_kernels::group_norm_silu(x, gamma, beta, norm.num_groups, norm.epsilon, film)
}

fn affine(norm: &GroupNorm) -> (Tensor<1>, Tensor<1>) {
    let affine = norm.gamma.as_ref().zip(norm.beta.as_ref());
    let (gamma, beta) = affine.expect("our networks normalise with an affine map");
    (gamma.val(), beta.val())
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
