//! Attention within a map, and what attention layers share.

use super::ops::{linear, norm};
use super::resnet::ResnetOptions;
use crate::train::cost::{Counter, Stage};
use crate::train::init::Init;
use burn::module::Module;
use burn::nn::{GroupNorm, Linear};
use burn::tensor::activation::softmax;
use burn::tensor::{Bool, Tensor};
use fewstep_kernels::maps::{to_map, to_tokens};

/// Self-attention over all positions of a map, around a residual connection. The output projection
/// starts at zero, so a new block is the identity.
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

impl AttentionBlock {
    /// Its cost, for a map of `positions` positions.
    pub(crate) fn cost(counter: &Counter, width: usize, positions: usize) -> Stage {
        let map = width * positions;
        let [q, k, v, out] = ["to_q", "to_k", "to_v", "to_out.0"]
            .map(|name| counter.weight(name, width, width, width));
        let tokens = q.keeps(map).max(k.keeps(map)).max(v.keeps(map));
        let layers = [&q, &k, &v, &out].map(|layer| layer.gradients);
        Stage {
            kept_checkpointed: map,
            // The input, its tokens, queries, keys and values, and the output of the heads, which is
            // what the last layer reads.
            kept: map + tokens + 3 * map + map,
            working: 3 * map,
            // The input, its tokens, queries, keys and values, and the output of the heads.
            forward: 6 * map,
            gradients: layers.iter().sum::<usize>() + counter.affine(width).gradients,
            ..Stage::default()
        }
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

/// Attention of several heads that leaves out what is masked (where `mask` is true).
///
/// # Shapes
/// - `q`, `k`, `v` and output: `[batch, tokens, width]`
/// - `mask`: `[batch or 1, 1, tokens or 1, tokens]`
pub(crate) fn masked_attention(
    heads: usize,
    [q, k, v]: [Tensor<3>; 3],
    mask: Tensor<4, Bool>,
) -> Tensor<3> {
    let [q, k, v] = [q, k, v].map(|x| split_heads(x, heads));
    let scale = 1.0 / (q.dims()[3] as f64).sqrt();
    let scores = q.matmul(k.swap_dims(2, 3)) * scale;
    let mask = mask.expand(scores.dims());
    let shares = softmax(scores.mask_fill(mask, f32::NEG_INFINITY), 3);
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
