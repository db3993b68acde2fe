//! The tiny autoencoder (TAESD; diffusers' `AutoencoderTiny`).

use crate::error::ConfigError;
use crate::layers::ops::{conv, norm};
use crate::train::init::Init;
use burn::module::Module;
use burn::nn::{GroupNorm, Relu, conv::Conv2d};
use burn::tensor::{Device, Tensor};
use fewstep_kernels::maps;

/// What a [`TinyAutoencoder`] looks like.
#[derive(Clone, Debug, PartialEq)]
pub struct TinyAutoencoderConfig {
    /// Channels of an image.
    pub channels: usize,
    /// Channels of a latent.
    pub latent_channels: usize,
    /// Feature channels everywhere.
    pub width: usize,
    /// Blocks at each resolution of the encoder, the full one first: 1, 3, 3, 3 for TAESD.
    pub encoder_blocks: Vec<usize>,
    /// Blocks at each resolution of the decoder, the lowest first: 3, 3, 3, 1 for TAESD.
    pub decoder_blocks: Vec<usize>,
    /// Whether the blocks at the lowest resolution see the whole map, through group normalisation
    /// (TAEF2).
    pub pool: bool,
}

/// Images to the latents of a bigger autoencoder and back, with a thousandth of its work.
#[derive(Module, Debug)]
pub struct TinyAutoencoder {
    encoder: Layers,
    decoder: Layers,
    #[module(skip)]
    config: TinyAutoencoderConfig,
}

impl TinyAutoencoder {
    /// A new autoencoder with weights drawn from the seed.
    ///
    /// # Errors
    /// When the configuration does not fit together.
    pub fn new(
        config: &TinyAutoencoderConfig,
        seed: u64,
        device: &Device,
    ) -> Result<Self, ConfigError> {
        let levels = [&config.encoder_blocks, &config.decoder_blocks].map(Vec::len);
        if levels[0] == 0 || levels[0] != levels[1] {
            return Err(ConfigError::new(format!(
                "a tiny autoencoder needs as many levels in the encoder as in the decoder, got {} and {}",
                levels[0], levels[1]
            )));
        }
        let init = &mut Init::new(seed, device);
        Ok(Self {
            encoder: encoder(init, config),
            decoder: decoder(init, config),
            config: config.clone(),
        })
    }

    /// What the autoencoder was built from.
    pub fn config(&self) -> &TinyAutoencoderConfig {
        &self.config
    }

    /// # Shapes
    /// - `images`: `[batch, channels, height, width]` in [-1, 1], height and width multiples of
    ///   [`TinyAutoencoderConfig::factor`]
    /// - output: `[batch, latent_channels, height / factor, width / factor]`
    pub fn encode(&self, images: Tensor<4>) -> Tensor<4> {
        self.encoder.forward((images + 1.0) / 2.0)
    }

    /// # Shapes
    /// - `latents`: `[batch, latent_channels, height, width]`
    /// - output: `[batch, channels, height · factor, width · factor]`, about [-1, 1]
    pub fn decode(&self, latents: Tensor<4>) -> Tensor<4> {
        let latents = (latents / 3.0).tanh() * 3.0;
        self.decoder.forward(latents) * 2.0 - 1.0
    }
}

impl TinyAutoencoderConfig {
    /// By how much height and width of a latent are smaller than those of its image.
    pub fn factor(&self) -> usize {
        1 << (self.encoder_blocks.len() - 1)
    }
}

/// Layers one after another, numbered as diffusers numbers them.
#[derive(Module, Debug)]
struct Layers {
    layers: Vec<Layer>,
}

impl Layers {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.layers.iter().fold(x, |x, layer| layer.forward(x))
    }
}

#[derive(Module, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "a network has a handful of these"
)]
enum Layer {
    Conv(Conv2d),
    Relu(Relu),
    Block(Block),
    Double(Double),
}

/// Doubles the resolution.
#[derive(Module, Debug)]
struct Double;

impl Layer {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Conv(layer) => conv(layer, x),
            Self::Relu(relu) => relu.forward(x),
            Self::Block(block) => block.forward(x),
            Self::Double(_) => maps::double(x),
        }
    }
}

/// Three convolutions around a residual connection; before them, where there is one, a narrow
/// network at every position whose normalisation lets the whole map take part.
#[derive(Module, Debug)]
struct Block {
    conv: (Conv2d, Relu, Conv2d, Relu, Conv2d),
    pool: Option<(Conv2d, GroupNorm, Relu, Conv2d)>,
}

impl Block {
    fn new(init: &mut Init, width: usize, pool: bool) -> Self {
        let mut layer = || init.conv(width, width, 3, 1);
        Self {
            conv: (layer(), Relu, layer(), Relu, layer()),
            pool: pool.then(|| {
                let inner = 4 * width;
                (
                    init.conv_without_bias(width, inner, 1, 1),
                    init.group_norm(4, inner),
                    Relu,
                    init.conv_without_bias(inner, width, 1, 1),
                )
            }),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = match &self.pool {
            Some((widen, normalise, relu, narrow)) => {
                let h = relu.forward(norm(normalise, conv(widen, x.clone())));
                x + conv(narrow, h)
            }
            None => x,
        };
        let (first, relu, second, _, third) = &self.conv;
        let h = relu.forward(conv(first, x.clone()));
        let h = relu.forward(conv(second, h));
        relu.forward(conv(third, h) + x)
    }
}

fn encoder(init: &mut Init, config: &TinyAutoencoderConfig) -> Layers {
    let width = config.width;
    let mut layers = vec![];
    for (level, &blocks) in config.encoder_blocks.iter().enumerate() {
        layers.push(Layer::Conv(match level {
            0 => init.conv(config.channels, width, 3, 1),
            _ => init.conv_without_bias(width, width, 3, 2),
        }));
        let pool = config.pool && level + 1 == config.encoder_blocks.len();
        layers.extend((0..blocks).map(|_| Layer::Block(Block::new(init, width, pool))));
    }
    layers.push(Layer::Conv(init.conv(width, config.latent_channels, 3, 1)));
    Layers { layers }
}

fn decoder(init: &mut Init, config: &TinyAutoencoderConfig) -> Layers {
    let width = config.width;
    let last = config.decoder_blocks.len() - 1;
    let mut layers = vec![
        Layer::Conv(init.conv(config.latent_channels, width, 3, 1)),
        Layer::Relu(Relu),
    ];
    for (level, &blocks) in config.decoder_blocks.iter().enumerate() {
        let pool = config.pool && level == 0;
        layers.extend((0..blocks).map(|_| Layer::Block(Block::new(init, width, pool))));
        if level < last {
            layers.push(Layer::Double(Double));
            layers.push(Layer::Conv(init.conv_without_bias(width, width, 3, 1)));
        }
    }
    layers.push(Layer::Conv(init.conv(width, config.channels, 3, 1)));
    Layers { layers }
}
