//! Transformer blocks that attend to the map itself and to text.

use crate::layers::attention::attend;
use crate::layers::ops::{conv, linear, norm};
use crate::train::checkpointing::{BlockInputs, checkpointed, ready};
use crate::train::cost::{Counter, Stage};
use crate::train::init::Init;
use crate::train::lora::Lora;
use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::nn::{Dropout, DropoutConfig, GroupNorm, LayerNorm, Linear};
use burn::tensor::{FloatDType, Tensor};
use fewstep_kernels::geglu;
use fewstep_kernels::maps::{to_map, to_tokens};
use serde::{Deserialize, Serialize};

/// Attention to the states of a text encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextAttention {
    /// Features of one state: 768 for Stable Diffusion 1, 1024 for 2.
    pub width: usize,
    /// Whether the projections into and out of the transformer are linear layers (Stable Diffusion
    /// 2) or 1x1 convolutions (1): the same map, stored in another shape.
    #[serde(default)]
    pub linear: bool,
}

/// Transformer layers over all positions of a map, around a residual connection. The last
/// projection starts at zero, so a new one is the identity.
#[derive(Module, Debug)]
pub(crate) struct Transformer {
    norm: GroupNorm,
    proj_in: Projection,
    transformer_blocks: Vec<TransformerBlock>,
    proj_out: Projection,
}

impl Transformer {
    /// For maps of `width` channels, with `depth` layers.
    pub(super) fn new(
        init: &mut Init,
        groups: usize,
        [width, heads, depth]: [usize; 3],
        text: TextAttention,
    ) -> Self {
        Self {
            norm: init.group_norm_with(groups, width, 1e-6),
            proj_in: match text.linear {
                true => Projection::Linear(init.linear(width, width)),
                false => Projection::Conv(init.conv(width, width, 1, 1)),
            },
            transformer_blocks: (0..depth)
                .map(|_| TransformerBlock::new(init, width, heads, text.width))
                .collect(),
            proj_out: match text.linear {
                true => Projection::Linear(init.zero_linear(width, width)),
                false => Projection::Conv(init.zero_conv(width, width, 1)),
            },
        }
    }

    /// Whether gradient checkpointing is by its layers, and not as a whole.
    pub(super) fn is_deep(&self) -> bool {
        is_deep(self.transformer_blocks.len())
    }

    /// # Shapes
    /// - `x` and output: `[batch, width, height, width]`
    /// - `text`: `[batch, states, text width]`
    pub(super) fn forward(&self, x: Tensor<4>, text: &Tensor<3>) -> Tensor<4> {
        self.around(x, None, |block, h| block.forward(h, text))
    }

    /// The same with gradient checkpointing of each layer, where the map is set to it, and with LoRA
    /// that are yet to be added to the weights.
    pub(super) fn forward_by_layers(
        &self,
        x: Tensor<4>,
        text: &Tensor<3>,
        lora: Option<&Lora>,
    ) -> Tensor<4> {
        let inputs = BlockInputs {
            embedding: None,
            text: Some(text),
            lora,
        };
        self.around(x, lora, |block, h| {
            checkpointed(block, h, inputs, |block, h, inputs| {
                block.forward(h, inputs.text.expect("a layer keeps the text it is given"))
            })
        })
    }

    fn around(
        &self,
        x: Tensor<4>,
        lora: Option<&Lora>,
        layer: impl Fn(&TransformerBlock, Tensor<3>) -> Tensor<3>,
    ) -> Tensor<4> {
        let [_, _, height, width] = x.dims();
        let h = norm(&self.norm, x.clone());
        let h = match &*ready(&self.proj_in, &h, lora) {
            Projection::Conv(layer) => to_tokens(conv(layer, h)),
            Projection::Linear(layer) => linear(layer, to_tokens(h)),
        };
        let blocks = self.transformer_blocks.iter();
        let h = blocks.fold(h, |h, block| layer(block, h));
        let h = match &*ready(&self.proj_out, &h, lora) {
            Projection::Conv(layer) => conv(layer, to_map(h, height, width)),
            Projection::Linear(layer) => to_map(linear(layer, h), height, width),
        };
        x + h
    }
}

fn is_deep(layers: usize) -> bool {
    layers > 1
}

impl Transformer {
    /// Its cost with `depth` layers, for a map of `positions` positions.
    pub(super) fn cost(
        counter: &Counter,
        [width, depth]: [usize; 2],
        text: TextAttention,
        positions: usize,
    ) -> Vec<Stage> {
        let map = width * positions;
        let states = width * counter.training.states;
        let proj_in = counter.weight("proj_in", width, width, width);
        let proj_out = counter.weight("proj_out", width, width, width);
        let geglu = counter.weight("ff.net.0.proj", width, 8 * width, 8 * width);
        let out = counter.weight("ff.net.2", 4 * width, width, width);
        let outer = counter.affine(width);
        let affine = counter.affine(3 * width);
        // The centred input of each layer normalisation, and what its scale is multiplied with.
        let norm = map + affine.keeps(map);
        let (within, within_gradients) = Attention::cost(counter, width, width, [map; 2]);
        let (to_text, to_text_gradients) =
            Attention::cost(counter, width, text.width, [map, states]);
        // Both halves of the projection, GELU of one, and the product.
        let feed_forward = geglu.keeps(map) + 8 * map + 4 * map + out.keeps(4 * map);
        let layer = Stage {
            kept_checkpointed: map,
            kept: 3 * norm + within + to_text + feed_forward,
            // The gradients of both halves, each the size of the whole, and their sum, when what
            // the feed-forward layer kept has gone; besides them the block's own gradient and those
            // that the halves' were made of.
            working: 28 * map - feed_forward.min(28 * map),
            // The block's input and the sum so far, the projection, and what GEGLU makes of it.
            forward: 14 * map,
            gradients: geglu.gradients
                + out.gradients
                + affine.gradients
                + within_gradients
                + to_text_gradients,
            ..Stage::default()
        };
        let [first, last] = [map + proj_in.keeps(map), proj_out.keeps(map)];
        if !is_deep(depth) {
            return vec![Stage {
                kept: first + depth * layer.kept + last,
                gradients: proj_in.gradients
                    + proj_out.gradients
                    + outer.gradients
                    + depth * layer.gradients,
                ..layer
            }];
        }
        let around = |kept: usize, gradients: usize| Stage {
            kept,
            kept_checkpointed: kept,
            forward: 3 * map,
            gradients,
            ..Stage::default()
        };
        let mut stages = vec![layer; depth];
        stages.insert(0, around(first, outer.gradients + proj_in.gradients));
        stages.push(around(last, proj_out.gradients));
        stages
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

/// Attention within the map, attention to text, and a gated feed-forward layer, each around a
/// residual connection.
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

/// Layer normalisation, in f32 for every type of `x`.
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

impl Attention {
    /// What it keeps, and the gradients of its parameters, for a map and a context of this many
    /// numbers.
    fn cost(
        counter: &Counter,
        width: usize,
        context: usize,
        [map, of_context]: [usize; 2],
    ) -> (usize, usize) {
        let q = counter.weight("to_q", width, width, 0);
        let [k, v] = ["to_k", "to_v"].map(|name| counter.weight(name, context, width, 0));
        let out = counter.weight("to_out.0", width, width, width);
        let tokens = match of_context == map {
            // Attention within the map: one input for all three.
            true => q.keeps(map).max(k.keeps(map)).max(v.keeps(map)),
            false => q.keeps(map),
        };
        // Queries, keys and values, and the output of the heads, which is what the last layer reads.
        let kept = tokens + map + 2 * of_context + map;
        let gradients = q.gradients + k.gradients + v.gradients + out.gradients;
        (kept, gradients)
    }
}

/// Four times as wide inside, gated by GELU. The layer in the middle, which does nothing, gives the
/// last one the number that diffusers has for it.
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
        geglu(linear(&self.proj, x))
    }
}
