//! The U-Net.

mod attention;
pub(crate) mod config;
mod convolutions;
mod cost;
mod decoder;
pub(crate) mod encoder;
mod extra_input;
mod resample;
#[cfg(test)]
mod tests;
mod text_time;
mod transformer;
mod variants;

pub use config::UNetConfig;
pub use extra_input::ExtraInput;
pub use resample::Resampling;
pub use text_time::TextTime;
pub use transformer::TextAttention;

use crate::controlnet::ControlNet;
use crate::error::ConfigError;
use crate::layers::embedding::TimestepEmbedding;
use crate::train::Lora;
use crate::train::init::Init;
use crate::train::precision::Precision;
use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::nn::{Embedding, GroupNorm};
use burn::tensor::{Device, FloatDType, Tensor};
use decoder::{Decoder, UpBlock, up_blocks};
use encoder::{DownBlock, Encoder, Features, MidBlock, down_blocks};
use fewstep_diffusion::{Inputs, Network};

/// The U-Net of [`UNetConfig`]; see there. With a [`ControlNet`] it takes a control image too.
#[derive(Module, Debug)]
pub struct UNet {
    conv_in: Conv2d,
    time_embedding: TimestepEmbedding,
    class_embedding: Option<Embedding>,
    add_embedding: Option<TimestepEmbedding>,
    down_blocks: Vec<DownBlock>,
    mid_block: Option<MidBlock>,
    up_blocks: Vec<UpBlock>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
    controlnet: Option<ControlNet>,
    lora: Option<Lora>,
    #[module(skip)]
    config: UNetConfig,
    /// The type of the maps between layers.
    #[module(skip)]
    compute: Precision,
}

impl UNet {
    /// A new network with weights drawn from the seed. Its output starts at zero.
    ///
    /// # Errors
    /// When the configuration does not fit together.
    pub fn new(config: &UNetConfig, seed: u64, device: &Device) -> Result<Self, ConfigError> {
        config.validate()?;
        let init = &mut Init::new(seed, device);
        let first = config.widths[0];
        let folded = config.channels * config.patch * config.patch;
        let embedding_dim = config.embedding_dim();
        // The w projection comes last, so that a student has its teacher's parameters under the
        // same numbers.
        let mut skips = vec![first];
        let network = Self {
            conv_in: init.conv(folded + config.concat, first, 3, 1),
            class_embedding: (config.classes > 0)
                .then(|| init.embedding(config.class_rows(), embedding_dim)),
            add_embedding: config
                .text_time
                .map(|text_time| text_time.layers(init, embedding_dim)),
            down_blocks: down_blocks(init, config, &mut skips),
            mid_block: MidBlock::new(init, config),
            up_blocks: up_blocks(init, config, skips),
            conv_norm_out: init.group_norm_with(config.groups, first, config.epsilon),
            conv_out: init.zero_conv(first, folded, 3),
            time_embedding: TimestepEmbedding::new(init, first, embedding_dim, config.w),
            controlnet: config
                .controlnet
                .as_ref()
                .map(|controlnet| ControlNet::new(config, controlnet, seed, device)),
            lora: None,
            compute: Precision::F32,
            config: UNetConfig {
                lora: None,
                ..config.clone()
            },
        };
        match &config.lora {
            Some(lora) => network.with_lora(lora, seed),
            None => Ok(network),
        }
    }

    /// What the network was built from.
    pub fn config(&self) -> &UNetConfig {
        &self.config
    }

    /// The ControlNet.
    pub fn controlnet(&self) -> Option<&ControlNet> {
        self.controlnet.as_ref()
    }

    /// The LoRA.
    pub fn lora(&self) -> Option<&Lora> {
        self.lora.as_ref()
    }

    pub(crate) fn encoder(&self) -> Encoder<'_> {
        Encoder {
            conv_in: &self.conv_in,
            time_embedding: &self.time_embedding,
            class_embedding: self.class_embedding.as_ref(),
            add_embedding: self.add_embedding.as_ref(),
            down_blocks: &self.down_blocks,
            mid_block: self.mid_block.as_ref(),
            lora: self.lora.as_ref(),
            config: &self.config,
        }
    }

    fn decoder(&self) -> Decoder<'_> {
        Decoder {
            up_blocks: &self.up_blocks,
            conv_norm_out: &self.conv_norm_out,
            conv_out: &self.conv_out,
            lora: self.lora.as_ref(),
            config: &self.config,
        }
    }
}

impl Network for UNet {
    fn forward(&self, z: Tensor<4>, time: &[f64], inputs: &Inputs) -> Tensor<4> {
        // Blocks add their LoRA themselves, so that not all weights are there twice at a time.
        let outside = self.lora.as_ref().and_then(Lora::outside_blocks);
        match outside {
            Some(lora) => lora.merge(self.clone()).compute(z, time, inputs),
            None => self.compute(z, time, inputs),
        }
    }

    fn has_dropout(&self) -> bool {
        self.config.dropout > 0.0
    }
}

impl UNet {
    /// The feature maps that the last block of each level and the middle give, from the largest to
    /// the smallest, in f32: what a discriminator reads. With a control image they have the
    /// ControlNet's in them.
    pub(crate) fn features(&self, z: Tensor<4>, time: &[f64], inputs: &Inputs) -> Vec<Tensor<4>> {
        let inputs = &inputs.clone().cast(self.compute.dtype());
        let outside = self.lora.as_ref().and_then(Lora::outside_blocks);
        let (features, _) = match outside {
            Some(lora) => lora.merge(self.clone()).encode(z, time, inputs),
            None => self.encode(z, time, inputs),
        };
        // Of each level the blocks leave a skip each, and then the layer that halves the size.
        let of_level = self.config.blocks + 1;
        let last = (0..self.config.widths.len()).map(|level| level * of_level + of_level - 1);
        let skips = last.map(|index| features.skips[index].clone());
        let maps = skips.chain([features.middle.clone()]);
        maps.map(|map| map.cast(FloatDType::F32)).collect()
    }

    /// The channels of its [`features`](Self::features).
    pub(crate) fn feature_widths(&self) -> Vec<usize> {
        let widths = &self.config.widths;
        widths.iter().chain(widths.last()).copied().collect()
    }

    /// From noisy images down to the middle, and the embedding that the blocks see. The inputs are
    /// in the type that it computes in.
    pub(crate) fn encode(
        &self,
        z: Tensor<4>,
        time: &[f64],
        inputs: &Inputs,
    ) -> (Features, Tensor<2>) {
        let z = z.cast(self.compute.dtype());
        let encoder = self.encoder();
        let embedding = encoder.embed(time, inputs, &z.device());
        let text = inputs.prompt.as_ref().map(|prompt| &prompt.cond.states);
        let stem = encoder.stem(z.clone(), inputs.concat.clone());
        let mut features = encoder.forward(stem, &embedding, text);
        if let Some((controlnet, control)) = self.controlnet.as_ref().zip(inputs.control.as_ref()) {
            features = controlnet.fuse(features, z, control.clone(), time, inputs);
        }
        (features, embedding)
    }

    fn compute(&self, z: Tensor<4>, time: &[f64], inputs: &Inputs) -> Tensor<4> {
        let inputs = &inputs.clone().cast(self.compute.dtype());
        let (features, embedding) = self.encode(z, time, inputs);
        let text = inputs.prompt.as_ref().map(|prompt| &prompt.cond.states);
        let output = self.decoder().forward(features, &embedding, text);
        output.cast(FloatDType::F32)
    }
}
