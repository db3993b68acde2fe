//! Transformer blocks that attend to the map itself and to text.

use super::config::UNetConfig;
use crate::layers::attention::attend;
use crate::layers::ops::{conv, linear, norm};
use crate::train::init::Init;
use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::nn::{Dropout, DropoutConfig, GroupNorm, LayerNorm, Linear};
use burn::tensor::{FloatDType, Tensor, activation::gelu};
use fewstep_kernels::maps::{to_map, to_tokens};
use serde::{Deserialize, Serialize};

/// Attention to the states of a text encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextAttention {
    /// Features of one state: 768 for Stable Diffusion 1, 1024 for 2.
    pub width: usize,
    /// Whether the projections into and out of the transformer are linear layers (Stable Diffusion 2) or 1x1
    /// convolutions (1): the same map, stored in another shape.
    #[serde(default)]
    pub linear: bool,
}

/// A transformer block over all positions of a map, around a residual connection. Its last projection starts at
/// zero, so a new block is the identity.
#[derive(Module, Debug)]
pub(crate) struct Transformer {
    norm: GroupNorm,
    proj_in: Projection,
    transformer_blocks: Vec<TransformerBlock>,
    proj_out: Projection,
}

impl Transformer {
    pub(crate) fn new(
        init: &mut Init,
        config: &UNetConfig,
        text: TextAttention,
        level: usize,
    ) -> Self {
        let (width, heads) = (config.widths[level], config.heads_of(level));
        Self {
            norm: init.group_norm_with(config.groups, width, 1e-6),
            proj_in: match text.linear {
                true => Projection::Linear(init.linear(width, width)),
                false => Projection::Conv(init.conv(width, width, 1, 1)),
            },
            transformer_blocks: vec![TransformerBlock::new(init, width, heads, text.width)],
            proj_out: match text.linear {
                true => Projection::Linear(init.zero_linear(width, width)),
                false => Projection::Conv(init.zero_conv(width, width, 1)),
            },
        }
    }

    /// # Shapes
    /// - `x` and output: `[batch, width, height, width]`
    /// - `text`: `[batch, states, text width]`
    pub(crate) fn forward(&self, x: Tensor<4>, text: &Tensor<3>) -> Tensor<4> {
        let [_, _, height, width] = x.dims();
        let h = norm(&self.norm, x.clone());
        let h = match &self.proj_in {
            Projection::Conv(layer) => to_tokens(conv(layer, h)),
            Projection::Linear(layer) => linear(layer, to_tokens(h)),
        };
        let blocks = self.transformer_blocks.iter();
        let h = blocks.fold(h, |h, block| block.forward(h, text));
        let h = match &self.proj_out {
            Projection::Conv(layer) => conv(layer, to_map(h, height, width)),
            Projection::Linear(layer) => to_map(linear(layer, h), height, width),
        };
        x + h
    }
}

/// A map of features at every position.
#[derive(Module, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "a network has a handful of these"
)]
enum Projection {
    Conv(Conv2d),
    Linear(Linear),
}

/// Attention within the map, attention to text, and a gated feed-forward layer, each around a residual connection.
#[derive(Module, Debug)]
struct TransformerBlock {
    norm1: LayerNorm,
    attn1: Attention,
    norm2: LayerNorm,
    attn2: Attention,
    norm3: LayerNorm,
    ff: FeedForward,
}

impl TransformerBlock {
    fn new(init: &mut Init, width: usize, heads: usize, text: usize) -> Self {
        Self {
            norm1: init.layer_norm(width, 1e-5),
            attn1: Attention::new(init, width, width, heads),
            norm2: init.layer_norm(width, 1e-5),
            attn2: Attention::new(init, width, text, heads),
            norm3: init.layer_norm(width, 1e-5),
            ff: FeedForward::new(init, width),
        }
    }

    fn forward(&self, x: Tensor<3>, text: &Tensor<3>) -> Tensor<3> {
        let h = layer_norm(&self.norm1, x.clone());
        let x = x + self.attn1.forward(h.clone(), h);
        let h = layer_norm(&self.norm2, x.clone());
        let x = x + self.attn2.forward(h, text.clone());
        let h = layer_norm(&self.norm3, x.clone());
        x + self.ff.forward(h)
    }
}

/// Layer normalisation, in f32 whatever the type of `x`.
fn layer_norm(norm: &LayerNorm, x: Tensor<3>) -> Tensor<3> {
    let dtype = FloatDType::from(x.dtype());
    norm.forward(x.cast(FloatDType::F32)).cast(dtype)
}

/// Attention of tokens to a context.
#[derive(Module, Debug)]
struct Attention {
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: Vec<Linear>,
    #[module(skip)]
    heads: usize,
}

impl Attention {
    fn new(init: &mut Init, width: usize, context: usize, heads: usize) -> Self {
        Self {
            to_q: init.projection(width, width),
            to_k: init.projection(context, width),
            to_v: init.projection(context, width),
            to_out: vec![init.linear(width, width)],
            heads,
        }
    }

    fn forward(&self, x: Tensor<3>, context: Tensor<3>) -> Tensor<3> {
        let (k, v) = (
            linear(&self.to_k, context.clone()),
            linear(&self.to_v, context),
        );
        let h = attend(self.heads, linear(&self.to_q, x), k, v);
        self.to_out.iter().fold(h, |h, layer| linear(layer, h))
    }
}

/// Four times as wide inside, gated by GELU. The layer in the middle, which does nothing, gives the last one the
/// number that diffusers has for it.
#[derive(Module, Debug)]
struct FeedForward {
    net: (GeGlu, Dropout, Linear),
}

impl FeedForward {
    fn new(init: &mut Init, width: usize) -> Self {
        let gated = GeGlu {
            proj: init.linear(width, 8 * width),
        };
        let unused = DropoutConfig::new(0.0).init();
        Self {
            net: (gated, unused, init.linear(4 * width, width)),
        }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let (gated, _, out) = &self.net;
        linear(out, gated.forward(x))
    }
}

/// One half of a projection times GELU of the other (2002.05202).
#[derive(Module, Debug)]
struct GeGlu {
    proj: Linear,
}

impl GeGlu {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let halves = linear(&self.proj, x).chunk(2, 2);
        halves[0].clone() * gelu(halves[1].clone())
    }
}
