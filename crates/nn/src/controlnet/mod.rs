//! The ControlNet: a copy of a U-Net's encoder that sees a control image, and the zero convolutions
//! that add its features to the U-Net's.

pub(crate) mod config;
mod stem;

pub use config::{ControlNetConfig, Fusion, Initial, STEM};

use crate::error::ConfigError;
use crate::layers::embedding::{TimestepEmbedding, WEmbedding};
use crate::layers::ops::conv;
use crate::train::cost::{Counter, Stage};
use crate::train::init::{Init, count};
use crate::unet::config::UNetConfig;
use crate::unet::encoder::{DownBlock, Encoder, Features, MidBlock, down_blocks};
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::nn::Embedding;
use burn::nn::conv::Conv2d;
use burn::tensor::{Device, FloatDType, Tensor};
use fewstep_diffusion::Inputs;
use std::collections::VecDeque;
use stem::Stem;

/// Parameters of a ControlNet are numbered from here, so that those of a network keep theirs
/// whatever it gains.
const FIRST_PARAMETER: u64 = 1 << 32;

/// Brings a control image into a U-Net (section 3.2 of 2310.01407; ControlNet, 2302.05543). Its
/// parameters carry the names of diffusers' `ControlNetModel`.
#[derive(Module, Debug)]
pub struct ControlNet {
    conv_in: Conv2d,
    time_embedding: TimestepEmbedding,
    class_embedding: Option<Embedding>,
    add_embedding: Option<TimestepEmbedding>,
    controlnet_cond_embedding: Stem,
    down_blocks: Vec<DownBlock>,
    mid_block: Option<MidBlock>,
    controlnet_down_blocks: Vec<Conv2d>,
    controlnet_mid_block: Option<Conv2d>,
    /// μ of each skip, then of the middle.
    mix: Option<Param<Tensor<1>>>,
    #[module(skip)]
    config: ControlNetConfig,
    #[module(skip)]
    base: UNetConfig,
}

impl ControlNet {
    /// A new ControlNet for networks of this configuration, with weights drawn from the seed.
    pub(crate) fn new(
        base: &UNetConfig,
        config: &ControlNetConfig,
        seed: u64,
        device: &Device,
    ) -> Self {
        let init = &mut Init::starting_at(FIRST_PARAMETER, seed, device);
        let first = base.widths[0];
        let mut skips = vec![first];
        let down_blocks = down_blocks(init, base, &mut skips);
        let mid_block = MidBlock::new(init, base);
        let middle = base.widths[base.widths.len() - 1];
        let zero_convs = config.fusion == Fusion::ZeroConv;
        let fused = if zero_convs { skips.as_slice() } else { &[] };
        Self {
            conv_in: init.conv(base.channels * base.patch * base.patch, first, 3, 1),
            class_embedding: (base.classes > 0)
                .then(|| init.embedding(base.class_rows(), base.embedding_dim())),
            add_embedding: base
                .text_time
                .map(|text_time| text_time.layers(init, base.embedding_dim())),
            down_blocks,
            mid_block,
            controlnet_cond_embedding: Stem::new(init, config, first),
            controlnet_down_blocks: fused
                .iter()
                .map(|&width| init.zero_conv(width, width, 1))
                .collect(),
            controlnet_mid_block: zero_convs.then(|| init.zero_conv(middle, middle, 1)),
            mix: (!zero_convs).then(|| init.zeros(skips.len() + 1)),
            // The w projection comes last, so that the others keep their numbers when w becomes an
            // input.
            time_embedding: TimestepEmbedding::new(init, first, base.embedding_dim(), base.w),
            config: config.clone(),
            base: UNetConfig {
                controlnet: None,
                ..base.clone()
            },
        }
    }

    /// What the ControlNet was built from.
    pub fn config(&self) -> &ControlNetConfig {
        &self.config
    }

    /// The network that the ControlNet was made for.
    pub fn base(&self) -> &UNetConfig {
        &self.base
    }

    /// Builds a ControlNet for a network of this configuration, to load weights into.
    ///
    /// # Errors
    /// When the numbers do not fit together.
    pub fn blank(
        base: &UNetConfig,
        config: &ControlNetConfig,
        device: &Device,
    ) -> Result<Self, ConfigError> {
        base.validate()?;
        config.validate()?;
        Ok(Self::new(base, config, 0, device))
    }

    /// The same ControlNet with the weights of a network's encoder.
    pub(crate) fn copy_of(self, source: Encoder<'_>) -> Self {
        // The channels of the latents come first.
        let channels = self.conv_in.weight.dims()[1];
        let mut conv_in = source.conv_in.clone();
        conv_in.weight = conv_in.weight.map(|weight| weight.narrow(1, 0, channels));
        Self {
            conv_in: copied(self.conv_in, &conv_in),
            time_embedding: copied(self.time_embedding, source.time_embedding),
            class_embedding: self
                .class_embedding
                .zip(source.class_embedding)
                .map(|(to, from)| copied(to, from)),
            add_embedding: self
                .add_embedding
                .zip(source.add_embedding)
                .map(|(to, from)| copied(to, from)),
            down_blocks: copied(self.down_blocks, &source.down_blocks.to_vec()),
            mid_block: self
                .mid_block
                .zip(source.mid_block)
                .map(|(to, from)| copied(to, from)),
            ..self
        }
    }

    /// Checks that the ControlNet fits a network.
    pub(crate) fn check_base(&self, network: &UNetConfig) -> Result<(), ConfigError> {
        type Fact = (&'static str, fn(&UNetConfig) -> String);
        let shapes: [Fact; 15] = [
            ("`channels`", |c| c.channels.to_string()),
            ("`patch`", |c| c.patch.to_string()),
            ("`widths`", |c| format!("{:?}", c.widths)),
            ("`blocks`", |c| c.blocks.to_string()),
            ("`attention`", |c| format!("{:?}", c.attention)),
            ("`head`", |c| c.head.to_string()),
            ("`heads`", |c| format!("{:?}", c.heads)),
            ("`middle`", |c| c.middle.to_string()),
            ("`middle_attention`", |c| c.middle_attention.to_string()),
            ("`text`", |c| format!("{:?}", c.text)),
            ("`depths`", |c| format!("{:?}", c.depths)),
            ("`text_time`", |c| format!("{:?}", c.text_time)),
            ("`groups`", |c| c.groups.to_string()),
            ("`resampling`", |c| format!("{:?}", c.resampling)),
            ("`classes`", |c| c.class_rows().to_string()),
        ];
        let differing = shapes
            .into_iter()
            .map(|(what, of)| (what, of(&self.base), of(network)))
            .find(|(_, ours, theirs)| ours != theirs);
        match differing {
            None => Ok(()),
            Some((what, ours, theirs)) => Err(ConfigError::new(format!(
                "the ControlNet was made for a base with {what} = {ours} and this one has {theirs}: a ControlNet fits bases of the same shapes only, such as other fine-tunes of the one it was trained on"
            ))),
        }
    }

    /// The base's features with those of the control image added to or mixed into them.
    ///
    /// # Shapes
    /// - `z`: `[batch, channels, height, width]`
    /// - `control`: `[batch, config.channels, any, any]`, in [-1, 1]
    pub(crate) fn fuse(
        &self,
        features: Features,
        z: Tensor<4>,
        control: Tensor<4>,
        time: &[f64],
        inputs: &Inputs,
    ) -> Features {
        let encoder = self.encoder();
        let embedding = encoder.embed(time, inputs, &z.device());
        let text = inputs.prompt.as_ref().map(|prompt| &prompt.cond.states);
        let control = match self.config.unit {
            true => control / 2.0 + 0.5,
            false => control,
        };
        let [_, _, height, width] = features.skips[0].dims();
        let stem = self
            .controlnet_cond_embedding
            .forward(control, [height, width]);
        match (&self.controlnet_mid_block, &self.mix) {
            (Some(zero_conv), _) => {
                // Maps that are concatenated to the base's input are not for the ControlNet, as in
                // diffusers.
                let base = encoder.stem(z, None);
                let ours = encoder.forward(base + stem, &embedding, text);
                let layers = self.controlnet_down_blocks.iter().chain([zero_conv]);
                features.fused(
                    ours,
                    layers.map(|layer| move |h: Tensor<4>, ours: Tensor<4>| h + conv(layer, ours)),
                )
            }
            (None, Some(mix)) => {
                let ours = encoder.forward(stem, &embedding, text);
                let mix = mix.val().cast(FloatDType::from(z.dtype()));
                let shares = mix.reshape([-1, 1, 1, 1]).split(1, 0).into_iter();
                features.fused(
                    ours,
                    shares.map(|mu: Tensor<4>| {
                        move |h: Tensor<4>, ours: Tensor<4>| h.clone() + (ours - h) * mu
                    }),
                )
            }
            (None, None) => features,
        }
    }

    /// The same with an input for w whose projection is zero.
    pub(crate) fn with_w_input(mut self, embedding: WEmbedding) -> Self {
        let device = self.devices().into_iter().next().unwrap_or_default();
        let init = &mut Init::starting_at(FIRST_PARAMETER + count(&self), 0, &device);
        let first = self.base.widths[0];
        self.time_embedding = self.time_embedding.with_w_input(init, first, embedding);
        self.base.w = Some(embedding);
        self
    }

    pub(crate) fn without_dropout(mut self) -> Self {
        let down_blocks = self.down_blocks.into_iter();
        self.down_blocks = down_blocks.map(DownBlock::without_dropout).collect();
        self.mid_block = self.mid_block.map(MidBlock::without_dropout);
        self.base.dropout = 0.0;
        self
    }

    /// Changes the parameters of all blocks.
    pub(crate) fn map_blocks(self, mapper: &mut impl ModuleMapper) -> Self {
        Self {
            down_blocks: self.down_blocks.map(mapper),
            mid_block: self.mid_block.map(|block| block.map(mapper)),
            ..self
        }
    }

    fn encoder(&self) -> Encoder<'_> {
        Encoder {
            conv_in: &self.conv_in,
            time_embedding: &self.time_embedding,
            class_embedding: self.class_embedding.as_ref(),
            add_embedding: self.add_embedding.as_ref(),
            down_blocks: &self.down_blocks,
            mid_block: self.mid_block.as_ref(),
            lora: None,
            config: &self.base,
        }
    }
}

impl ControlNet {
    /// Its cost on a base of this configuration, for `positions` positions of the first feature
    /// map; `leaves_skips` says whether the decoder takes its skips, and not the base's.
    pub(crate) fn cost(
        counter: &Counter,
        base: &UNetConfig,
        config: &ControlNetConfig,
        positions: usize,
        leaves_skips: bool,
    ) -> Vec<Stage> {
        let base = &UNetConfig {
            concat: 0,
            ..base.clone()
        };
        let mut stages = Stem::cost(counter, config, base.widths[0], positions);
        stages.extend(Encoder::cost(counter, base, positions, leaves_skips));
        stages.push(Self::fusion_cost(base, config, positions));
        stages
    }

    /// What adds its features to the base's. The inputs of the zero convolutions are those of the
    /// blocks behind them, except for the middle's; a mixture keeps the differences.
    fn fusion_cost(base: &UNetConfig, config: &ControlNetConfig, positions: usize) -> Stage {
        let last = base.widths.len() - 1;
        let middle = (base.widths[last], last);
        let map = |(width, level): (usize, usize)| width * (positions >> (2 * level));
        let maps = || base.skips().chain([middle]);
        let (kept, kept_checkpointed, gradients) = match config.fusion {
            Fusion::ZeroConv => {
                let gradients = maps().map(|(w, _)| w * w + w).sum();
                (map(middle), map(middle), gradients)
            }
            Fusion::Mix => (maps().map(map).sum(), 0, maps().count()),
        };
        Stage {
            kept,
            kept_checkpointed,
            forward: maps().map(map).sum(),
            gradients,
            ..Stage::default()
        }
    }
}

impl Features {
    /// Fuses two sets of features map by map: the skips, then the middle.
    fn fused<J: FnOnce(Tensor<4>, Tensor<4>) -> Tensor<4>>(
        self,
        other: Self,
        fusions: impl Iterator<Item = J>,
    ) -> Self {
        let ours = self.skips.into_iter().chain([self.middle]);
        let theirs = other.skips.into_iter().chain([other.middle]);
        let pairs = ours.zip(theirs).zip(fusions);
        let mut skips: Vec<Tensor<4>> = pairs.map(|((a, b), fuse)| fuse(a, b)).collect();
        let middle = skips.pop().expect("a network has a middle");
        Self { skips, middle }
    }
}

/// A module of the same structure with the values of another and its own parameter numbers.
fn copied<M: Module>(to: M, from: &M) -> M {
    #[derive(Default)]
    struct Values(VecDeque<Tensor<1>>);
    impl ModuleVisitor for Values {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.push_back(param.val().flatten(0, D - 1));
        }
    }
    impl ModuleMapper for Values {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let value = self.0.pop_front().expect("both have the same structure");
            param.map(|old| value.reshape(old.shape()))
        }
    }
    let mut values = Values::default();
    from.visit(&mut values);
    to.map(&mut values)
}

#[cfg(test)]
mod tests;
