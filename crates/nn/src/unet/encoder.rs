//! The encoder of a U-Net: stem, embedding, the down path and the middle. The U-Net and its
//! ControlNet each have one, under the same parameter names.

use super::attention::Attention;
use super::config::UNetConfig;
use super::resample::Resample;
use crate::layers::embedding::{TimestepEmbedding, time_sinusoid, w_sinusoid};
use crate::layers::ops::conv;
use crate::layers::patches::fold_patches;
use crate::layers::resnet::ResnetBlock;
use crate::train::cost::{Counter, Stage};
use crate::train::init::Init;
use crate::train::lora::Lora;
use burn::module::Module;
use burn::nn::Embedding;
use burn::nn::conv::Conv2d;
use burn::tensor::{Device, Int, Tensor, TensorData};
use fewstep_diffusion::Inputs;
use fewstep_kernels::maps;

/// The layers of the down path, borrowed from the network that has them.
pub(crate) struct Encoder<'a> {
    pub(crate) conv_in: &'a Conv2d,
    pub(crate) time_embedding: &'a TimestepEmbedding,
    pub(crate) class_embedding: Option<&'a Embedding>,
    pub(crate) add_embedding: Option<&'a TimestepEmbedding>,
    pub(crate) down_blocks: &'a [DownBlock],
    pub(crate) mid_block: Option<&'a MidBlock>,
    /// What the blocks add to their weights.
    pub(crate) lora: Option<&'a Lora>,
    pub(crate) config: &'a UNetConfig,
}

/// What the decoder takes.
pub(crate) struct Features {
    /// The skip connections: one map for each residual block of the up path, the last one first.
    pub(crate) skips: Vec<Tensor<4>>,
    pub(crate) middle: Tensor<4>,
}

#[derive(Module, Debug)]
pub(crate) struct DownBlock {
    resnets: Vec<ResnetBlock>,
    attentions: Vec<Attention>,
    downsamplers: Vec<Resample>,
}

#[derive(Module, Debug)]
pub(crate) struct MidBlock {
    resnets: Vec<ResnetBlock>,
    attentions: Vec<Attention>,
}

impl Encoder<'_> {
    /// The embedding of time, class, w, whole prompt and sizes, `[batch, embedding_dim]`, always in
    /// f32.
    pub(crate) fn embed(&self, time: &[f64], inputs: &Inputs, device: &Device) -> Tensor<2> {
        let w = self.config.w.zip(inputs.w.as_ref());
        let w = w.map(|(embedding, w)| w_sinusoid(w, embedding, device));
        let (dim, sinusoid) = (self.config.widths[0], self.config.sinusoid);
        let time = time_sinusoid(time, dim, sinusoid, device);
        let embedding = self.time_embedding.forward(time, w);
        let added = self.add_embedding.zip(self.config.text_time);
        let embedding = match added {
            Some((layers, text_time)) => embedding + text_time.embed(layers, inputs, sinusoid),
            None => embedding,
        };
        let Some(table) = self.class_embedding else {
            return embedding;
        };
        let null = self.config.classes as i32;
        let batch = embedding.dims()[0];
        let classes: Vec<i32> = match &inputs.classes {
            Some(classes) => classes
                .iter()
                .map(|c| c.map_or(null, |c| c as i32))
                .collect(),
            None => vec![null; batch],
        };
        let classes = Tensor::<2, Int>::from_data(TensorData::new(classes, [batch, 1]), device);
        embedding + table.forward(classes).squeeze_dim::<2>(1)
    }

    /// The first feature map of a noisy image and the maps that are concatenated to it.
    pub(crate) fn stem(&self, z: Tensor<4>, concat: Option<Tensor<4>>) -> Tensor<4> {
        let mut input = vec![fold_patches(z, self.config.patch)];
        input.extend(concat);
        conv(self.conv_in, maps::concat(input))
    }

    /// From the first feature map down to the middle.
    pub(crate) fn forward(
        &self,
        stem: Tensor<4>,
        embedding: &Tensor<2>,
        text: Option<&Tensor<3>>,
    ) -> Features {
        let mut h = stem;
        let mut skips = vec![h.clone()];
        for block in self.down_blocks {
            for (index, resnet) in block.resnets.iter().enumerate() {
                h = resnet.forward(h, Some(embedding), self.lora);
                if let Some(attention) = block.attentions.get(index) {
                    h = attention.forward(h, text, self.lora);
                }
                skips.push(h.clone());
            }
            for down in &block.downsamplers {
                h = down.down(h, embedding, self.lora);
                skips.push(h.clone());
            }
        }
        let middle = match self.mid_block {
            Some(block) => block.forward(h, embedding, text, self.lora),
            None => h,
        };
        Features { skips, middle }
    }
}

impl Encoder<'_> {
    /// Its cost, for `positions` positions of the first feature map; `leaves_skips` says whether
    /// the decoder takes its skips.
    pub(crate) fn cost(
        counter: &Counter,
        config: &UNetConfig,
        positions: usize,
        leaves_skips: bool,
    ) -> Vec<Stage> {
        let last = config.widths.len() - 1;
        let mut stages = vec![Self::stem_cost(counter, config, positions)];
        let mut from = config.widths[0];
        let resnet = |sides: [usize; 2], here: usize| {
            ResnetBlock::cost(counter, config.resnets(), sides, [here; 2])
        };
        let skip = |stages: &mut Vec<Stage>, size: usize| {
            if let Some(stage) = stages.last_mut().filter(|_| leaves_skips) {
                stage.skip = size;
            }
        };
        skip(&mut stages, from * positions);
        for (level, &to) in config.widths.iter().enumerate() {
            let here = positions >> (2 * level);
            for _ in 0..config.blocks {
                stages.push(resnet([from, to], here));
                stages.extend(Attention::cost_if_any(counter, config, level, here));
                skip(&mut stages, to * here);
                from = to;
            }
            if level < last {
                stages.push(Resample::cost(
                    counter,
                    config.resampling(),
                    to,
                    [here, here / 4],
                ));
                skip(&mut stages, to * (here / 4));
            }
        }
        if !config.middle {
            return stages;
        }
        let here = positions >> (2 * last);
        stages.push(resnet([from, from], here));
        if config.middle_attention {
            stages.extend(Attention::cost(counter, config, last, here));
        }
        stages.push(resnet([from, from], here));
        stages
    }

    /// The first convolution, and the embedding of time, class and w.
    fn stem_cost(counter: &Counter, config: &UNetConfig, positions: usize) -> Stage {
        let (first, dim) = (config.widths[0], config.embedding_dim());
        let folded = config.channels * config.patch * config.patch + config.concat;
        let conv = counter.weight("conv_in", 9 * folded, first, first);
        let classes = match config.classes {
            0 => 0,
            _ => {
                let table = counter.weight("class_embedding", config.class_rows(), dim, 0);
                table.gradients
            }
        };
        let time = TimestepEmbedding::gradients(counter, "time_embedding", [first, dim], config.w);
        let added = config.text_time;
        let added = added.map_or(0, |text_time| text_time.gradients(counter, dim));
        let kept = conv.keeps(folded * positions);
        Stage {
            kept,
            kept_checkpointed: kept,
            forward: (folded + first) * positions,
            gradients: conv.gradients + time + added + classes,
            ..Stage::default()
        }
    }
}

impl DownBlock {
    pub(crate) fn without_dropout(self) -> Self {
        Self {
            resnets: ResnetBlock::without_dropout(self.resnets),
            ..self
        }
    }
}

impl MidBlock {
    pub(crate) fn without_dropout(self) -> Self {
        Self {
            resnets: ResnetBlock::without_dropout(self.resnets),
            ..self
        }
    }

    /// The middle, where the network has one.
    pub(crate) fn new(init: &mut Init, config: &UNetConfig) -> Option<Self> {
        let last = config.widths.len() - 1;
        let width = config.widths[last];
        config.middle.then(|| Self {
            resnets: (0..2)
                .map(|_| ResnetBlock::new(init, config.resnets(), width, width))
                .collect(),
            attentions: config
                .middle_attention
                .then(|| Attention::new(init, config, last))
                .into_iter()
                .collect(),
        })
    }

    fn forward(
        &self,
        h: Tensor<4>,
        embedding: &Tensor<2>,
        text: Option<&Tensor<3>>,
        lora: Option<&Lora>,
    ) -> Tensor<4> {
        let h = self.resnets[0].forward(h, Some(embedding), lora);
        let attentions = self.attentions.iter();
        let h = attentions.fold(h, |h, attention| attention.forward(h, text, lora));
        self.resnets[1].forward(h, Some(embedding), lora)
    }
}

/// The blocks of the down path; appends the channels of the skips that they leave.
pub(crate) fn down_blocks(
    init: &mut Init,
    config: &UNetConfig,
    skips: &mut Vec<usize>,
) -> Vec<DownBlock> {
    let levels = config.widths.len();
    let mut width = config.widths[0];
    let mut blocks = Vec::with_capacity(levels);
    for (level, &to) in config.widths.iter().enumerate() {
        let mut resnets = Vec::with_capacity(config.blocks);
        for _ in 0..config.blocks {
            resnets.push(ResnetBlock::new(init, config.resnets(), width, to));
            width = to;
            skips.push(width);
        }
        let attentions = attentions(init, config, level, config.blocks);
        let mut downsamplers = vec![];
        if level + 1 < levels {
            downsamplers.push(Resample::new(init, config.resampling(), width, 2));
            skips.push(width);
        }
        blocks.push(DownBlock {
            resnets,
            attentions,
            downsamplers,
        });
    }
    blocks
}

/// The attention of a level, one for each of `count` residual blocks where it has any.
pub(crate) fn attentions(
    init: &mut Init,
    config: &UNetConfig,
    level: usize,
    count: usize,
) -> Vec<Attention> {
    let count = if config.attention[level] { count } else { 0 };
    (0..count)
        .map(|_| Attention::new(init, config, level))
        .collect()
}
