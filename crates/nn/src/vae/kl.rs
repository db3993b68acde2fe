//! The autoencoder of latent diffusion (diffusers' `AutoencoderKL`).

use super::tiling::{Tiles, tiled};
use crate::error::ConfigError;
use crate::layers::attention::AttentionBlock;
use crate::layers::ops::{conv, norm_silu};
use crate::layers::resample::ResampleConv;
use crate::layers::resnet::{ResnetBlock, ResnetOptions};
use crate::train::init::Init;
use burn::module::Module;
use burn::nn::GroupNorm;
use burn::nn::conv::Conv2d;
use burn::tensor::{Device, Tensor};

/// What an [`Autoencoder`] looks like.
#[derive(Clone, Debug, PartialEq)]
pub struct AutoencoderConfig {
    /// Channels of an image.
    pub channels: usize,
    /// Channels of a latent.
    pub latent_channels: usize,
    /// Feature channels of each level; every level but the last halves the resolution.
    pub widths: Vec<usize>,
    /// Residual blocks of each level of the encoder (one more in the decoder).
    pub blocks: usize,
    /// Groups of each group normalisation.
    pub groups: usize,
    /// Whether there is attention in the middle.
    pub attention: bool,
    /// Whether a 1x1 convolution follows the encoder.
    pub quant_conv: bool,
    /// Whether a 1x1 convolution precedes the decoder.
    pub post_quant_conv: bool,
}

/// Images to latents and back. Latents are as the network gives them: diffusion models scale them.
#[derive(Module, Debug)]
pub struct Autoencoder {
    encoder: Encoder,
    decoder: Decoder,
    quant_conv: Option<Conv2d>,
    post_quant_conv: Option<Conv2d>,
    #[module(skip)]
    config: AutoencoderConfig,
}

/// The normal distribution that the encoder gives for each value of a latent.
#[derive(Clone, Debug)]
pub struct Posterior {
    /// `[batch, latent_channels, height, width]`; the latent to take where no randomness is wanted.
    pub mean: Tensor<4>,
    /// Logarithm of the variance, within [-30, 20].
    pub log_variance: Tensor<4>,
}

impl Posterior {
    /// The latent for standard normal noise of its shape.
    pub fn sample(&self, noise: Tensor<4>) -> Tensor<4> {
        self.mean.clone() + (self.log_variance.clone() * 0.5).exp() * noise
    }
}

impl Autoencoder {
    /// A new autoencoder with weights drawn from the seed.
    ///
    /// # Errors
    /// When the configuration does not fit together.
    pub fn new(
        config: &AutoencoderConfig,
        seed: u64,
        device: &Device,
    ) -> Result<Self, ConfigError> {
        config.validate()?;
        let init = &mut Init::new(seed, device);
        let latent = config.latent_channels;
        Ok(Self {
            encoder: Encoder::new(init, config, 2 * latent),
            decoder: Decoder::new(init, config),
            quant_conv: config
                .quant_conv
                .then(|| init.conv(2 * latent, 2 * latent, 1, 1)),
            post_quant_conv: config
                .post_quant_conv
                .then(|| init.conv(latent, latent, 1, 1)),
            config: config.clone(),
        })
    }

    /// What the autoencoder was built from.
    pub fn config(&self) -> &AutoencoderConfig {
        &self.config
    }

    /// # Shapes
    /// - `images`: `[batch, channels, height, width]` in [-1, 1], height and width multiples of
    ///   [`AutoencoderConfig::factor`]
    /// - output: `[batch, latent_channels, height / factor, width / factor]`
    pub fn encode(&self, images: Tensor<4>) -> Posterior {
        let h = self.encoder.forward(images);
        let h = optional(&self.quant_conv, h);
        let halves = h.chunk(2, 1);
        Posterior {
            mean: halves[0].clone(),
            log_variance: halves[1].clone().clamp(-30.0, 20.0),
        }
    }

    /// # Shapes
    /// - `latents`: `[batch, latent_channels, height, width]`
    /// - output: `[batch, channels, height · factor, width · factor]`, about [-1, 1]
    pub fn decode(&self, latents: Tensor<4>) -> Tensor<4> {
        self.decoder
            .forward(optional(&self.post_quant_conv, latents))
    }

    /// [`Autoencoder::decode`] in overlapping tiles that are blended into one another: a big image
    /// with the memory of a small one. The image differs a little, because a tile does not see the
    /// others.
    pub fn decode_tiled(&self, latents: Tensor<4>, tiles: Tiles) -> Tensor<4> {
        tiled(latents, tiles, self.config.factor(), |tile| {
            self.decode(tile)
        })
    }
}

impl AutoencoderConfig {
    /// By how much height and width of a latent are smaller than those of its image.
    pub fn factor(&self) -> usize {
        1 << (self.widths.len() - 1)
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let counts = [self.channels, self.latent_channels, self.groups];
        if self.widths.is_empty() || counts.contains(&0) {
            return Err(ConfigError::new(
                "an autoencoder needs at least one level, one channel and one group".into(),
            ));
        }
        match self.widths.iter().find(|&width| width % self.groups != 0) {
            Some(width) => Err(ConfigError::new(format!(
                "width {width} of the autoencoder must be a multiple of its {} groups",
                self.groups
            ))),
            None => Ok(()),
        }
    }

    fn resnets(&self) -> ResnetOptions {
        ResnetOptions {
            groups: self.groups,
            epsilon: 1e-6,
            embedding: None,
            dropout: 0.0,
        }
    }
}

fn optional(layer: &Option<Conv2d>, x: Tensor<4>) -> Tensor<4> {
    match layer {
        Some(layer) => conv(layer, x),
        None => x,
    }
}

#[derive(Module, Debug)]
pub(crate) struct Encoder {
    conv_in: Conv2d,
    down_blocks: Vec<DownBlock>,
    mid_block: MidBlock,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
}

#[derive(Module, Debug)]
struct DownBlock {
    resnets: Vec<ResnetBlock>,
    downsamplers: Vec<ResampleConv>,
}

impl Encoder {
    /// With an output of `channels` channels.
    pub(crate) fn new(init: &mut Init, config: &AutoencoderConfig, channels: usize) -> Self {
        let (first, last) = (config.widths[0], config.widths.len() - 1);
        let widths = std::iter::once(first).chain(config.widths.iter().copied());
        let conv_in = init.conv(config.channels, first, 3, 1);
        let levels = config.widths.iter().zip(widths).enumerate();
        let down_blocks = levels.map(|(level, (&to, from))| DownBlock {
            resnets: resnets(init, config, from, to, config.blocks),
            downsamplers: (level < last)
                .then(|| ResampleConv::new(init, to, 2))
                .into_iter()
                .collect(),
        });
        Self {
            conv_in,
            down_blocks: down_blocks.collect(),
            mid_block: MidBlock::new(init, config),
            conv_norm_out: init.group_norm_with(config.groups, config.widths[last], 1e-6),
            conv_out: init.conv(config.widths[last], channels, 3, 1),
        }
    }

    pub(crate) fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        let mut h = conv(&self.conv_in, images);
        for block in &self.down_blocks {
            h = through(&block.resnets, h);
            let down = block.downsamplers.iter();
            h = down.fold(h, |h, down| down.down_from_corner(h, None));
        }
        let h = self.mid_block.forward(h);
        conv(&self.conv_out, norm_silu(&self.conv_norm_out, h, None))
    }
}

#[derive(Module, Debug)]
pub(crate) struct Decoder {
    conv_in: Conv2d,
    mid_block: MidBlock,
    up_blocks: Vec<UpBlock>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
}

#[derive(Module, Debug)]
struct UpBlock {
    resnets: Vec<ResnetBlock>,
    upsamplers: Vec<ResampleConv>,
}

impl Decoder {
    pub(crate) fn new(init: &mut Init, config: &AutoencoderConfig) -> Self {
        let (first, last) = (config.widths[0], config.widths.len() - 1);
        let conv_in = init.conv(config.latent_channels, config.widths[last], 3, 1);
        let mid_block = MidBlock::new(init, config);
        let up_blocks = (0..=last).rev().map(|level| {
            let (from, to) = (config.widths[last.min(level + 1)], config.widths[level]);
            UpBlock {
                resnets: resnets(init, config, from, to, config.blocks + 1),
                upsamplers: (level > 0)
                    .then(|| ResampleConv::new(init, to, 1))
                    .into_iter()
                    .collect(),
            }
        });
        Self {
            conv_in,
            mid_block,
            up_blocks: up_blocks.collect(),
            conv_norm_out: init.group_norm_with(config.groups, first, 1e-6),
            conv_out: init.conv(first, config.channels, 3, 1),
        }
    }

    pub(crate) fn forward(&self, latents: Tensor<4>) -> Tensor<4> {
        let mut h = self.mid_block.forward(conv(&self.conv_in, latents));
        for block in &self.up_blocks {
            h = through(&block.resnets, h);
            h = block.upsamplers.iter().fold(h, |h, up| up.up(h, None));
        }
        conv(&self.conv_out, norm_silu(&self.conv_norm_out, h, None))
    }
}

#[derive(Module, Debug)]
struct MidBlock {
    resnets: Vec<ResnetBlock>,
    attentions: Vec<AttentionBlock>,
}

impl MidBlock {
    fn new(init: &mut Init, config: &AutoencoderConfig) -> Self {
        let width = config.widths[config.widths.len() - 1];
        let attention = config.attention;
        Self {
            resnets: resnets(init, config, width, width, 2),
            attentions: attention
                .then(|| AttentionBlock::new(init, config.resnets(), width, 1))
                .into_iter()
                .collect(),
        }
    }

    fn forward(&self, h: Tensor<4>) -> Tensor<4> {
        let h = self.resnets[0].forward(h, None, None);
        let h = self.attentions.iter().fold(h, |h, a| a.forward(h));
        self.resnets[1].forward(h, None, None)
    }
}

/// The first block goes from one width to the other.
fn resnets(
    init: &mut Init,
    config: &AutoencoderConfig,
    from: usize,
    to: usize,
    count: usize,
) -> Vec<ResnetBlock> {
    (0..count)
        .map(|index| {
            let from = if index == 0 { from } else { to };
            ResnetBlock::new(init, config.resnets(), from, to)
        })
        .collect()
}

fn through(resnets: &[ResnetBlock], h: Tensor<4>) -> Tensor<4> {
    resnets
        .iter()
        .fold(h, |h, block| block.forward(h, None, None))
}
