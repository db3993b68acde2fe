//! The decoder (up path) of a U-Net, and its output.

use super::attention::Attention;
use super::config::UNetConfig;
use super::encoder::{Features, attentions};
use super::resample::Resample;
use crate::layers::ops::{conv, norm_silu};
use crate::layers::patches::unfold_patches;
use crate::layers::resnet::ResnetBlock;
use crate::train::cost::{Counter, Stage};
use crate::train::init::Init;
use crate::train::lora::Lora;
use burn::module::Module;
use burn::nn::GroupNorm;
use burn::nn::conv::Conv2d;
use burn::tensor::Tensor;
use fewstep_kernels::maps;

/// The layers of the up path, borrowed from the network that has them.
pub(super) struct Decoder<'a> {
    pub(super) up_blocks: &'a [UpBlock],
    pub(super) conv_norm_out: &'a GroupNorm,
    pub(super) conv_out: &'a Conv2d,
    /// What the blocks add to their weights.
    pub(super) lora: Option<&'a Lora>,
    pub(super) config: &'a UNetConfig,
}

#[derive(Module, Debug)]
pub(super) struct UpBlock {
    resnets: Vec<ResnetBlock>,
    attentions: Vec<Attention>,
    upsamplers: Vec<Resample>,
}

impl UpBlock {
    pub(super) fn without_dropout(self) -> Self {
        Self {
            resnets: ResnetBlock::without_dropout(self.resnets),
            ..self
        }
    }
}

impl Decoder<'_> {
    /// From the middle up to the output, each residual block with its skip connection.
    pub(super) fn forward(
        &self,
        features: Features,
        embedding: &Tensor<2>,
        text: Option<&Tensor<3>>,
    ) -> Tensor<4> {
        let Features {
            middle: mut h,
            mut skips,
        } = features;
        for block in self.up_blocks {
            for (index, resnet) in block.resnets.iter().enumerate() {
                let skip = skips.pop().expect(ONE_SKIP_EACH);
                h = resnet.forward(maps::concat(vec![h, skip]), Some(embedding), self.lora);
                if let Some(attention) = block.attentions.get(index) {
                    h = attention.forward(h, text, self.lora);
                }
            }
            for up in &block.upsamplers {
                h = up.up(h, embedding, self.lora);
            }
        }
        let h = norm_silu(self.conv_norm_out, h, None);
        unfold_patches(conv(self.conv_out, h), self.config.patch)
    }
}

impl Decoder<'_> {
    /// Its cost, for `positions` positions of the last feature map.
    pub(super) fn cost(counter: &Counter, config: &UNetConfig, positions: usize) -> Vec<Stage> {
        let mut skips: Vec<usize> = config.skips().map(|(width, _)| width).collect();
        let mut stages = vec![];
        let mut from = config.widths[config.widths.len() - 1];
        for (level, &to) in config.widths.iter().enumerate().rev() {
            let here = positions >> (2 * level);
            for _ in 0..=config.blocks {
                let both = from + skips.pop().unwrap_or(0);
                stages.push(Stage {
                    concatenated: both * here,
                    ..ResnetBlock::cost(counter, config.resnets(), [both, to], [here; 2])
                });
                stages.extend(Attention::cost_if_any(counter, config, level, here));
                from = to;
            }
            if level > 0 {
                stages.push(Resample::cost(
                    counter,
                    config.resampling(),
                    to,
                    [here, 4 * here],
                ));
            }
        }
        stages.push(Self::output_cost(counter, config, positions));
        stages
    }

    /// The last normalisation and convolution.
    fn output_cost(counter: &Counter, config: &UNetConfig, positions: usize) -> Stage {
        let first = config.widths[0];
        let folded = config.channels * config.patch * config.patch;
        let norm = counter.affine(first);
        let conv = counter.weight("conv_out", 9 * first, folded, folded);
        let map = first * positions;
        Stage {
            kept: map + conv.keeps(map),
            kept_checkpointed: match norm.trained {
                true => map,
                false => map + conv.keeps(map),
            },
            working: 2 * first * positions,
            forward: 2 * first * positions,
            gradients: norm.gradients + conv.gradients,
            ..Stage::default()
        }
    }
}

/// The encoder leaves as many maps as the decoder has residual blocks.
const ONE_SKIP_EACH: &str = "one skip per residual block of the up path";

/// The blocks of the up path, for skips of these channels.
pub(super) fn up_blocks(
    init: &mut Init,
    config: &UNetConfig,
    mut skips: Vec<usize>,
) -> Vec<UpBlock> {
    let levels = config.widths.len();
    let mut width = config.widths[levels - 1];
    let mut blocks = Vec::with_capacity(levels);
    for level in (0..levels).rev() {
        let to = config.widths[level];
        let mut resnets = Vec::with_capacity(config.blocks + 1);
        for _ in 0..=config.blocks {
            let skip = skips.pop().expect(ONE_SKIP_EACH);
            resnets.push(ResnetBlock::new(init, config.resnets(), width + skip, to));
            width = to;
        }
        let attentions = attentions(init, config, level, config.blocks + 1);
        let upsamplers = (level > 0).then(|| Resample::new(init, config.resampling(), width, 1));
        blocks.push(UpBlock {
            resnets,
            attentions,
            upsamplers: upsamplers.into_iter().collect(),
        });
    }
    blocks
}
