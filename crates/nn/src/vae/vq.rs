//! The autoencoder of latent diffusion whose latents are rounded to a codebook (diffusers'
//! `VQModel`).

use super::kl::{AutoencoderConfig, Decoder, Encoder};
use super::tiling::{Tiles, tiled};
use crate::error::ConfigError;
use crate::layers::ops::conv;
use crate::train::init::Init;
use burn::module::Module;
use burn::nn::Embedding;
use burn::nn::conv::Conv2d;
use burn::tensor::{Device, Tensor};

/// What a [`VqAutoencoder`] looks like.
#[derive(Clone, Debug, PartialEq)]
pub struct VqAutoencoderConfig {
    /// Its layers, which are those of an [`Autoencoder`](crate::Autoencoder), with both 1x1
    /// convolutions.
    pub layers: AutoencoderConfig,
    /// Number of codes.
    pub codes: usize,
    /// Channels of a code, which are those of the latents that a diffusion model works on.
    pub code_channels: usize,
}

/// Images to latents, and to images from the nearest codes. Diffusion models work on latents that
/// are not yet rounded.
#[derive(Module, Debug)]
pub struct VqAutoencoder {
    encoder: Encoder,
    decoder: Decoder,
    quantize: Codebook,
    quant_conv: Conv2d,
    post_quant_conv: Conv2d,
    #[module(skip)]
    config: VqAutoencoderConfig,
}

#[derive(Module, Debug)]
struct Codebook {
    embedding: Embedding,
}

impl VqAutoencoder {
    /// A new autoencoder with weights drawn from the seed.
    ///
    /// # Errors
    /// When the configuration does not fit together.
    pub fn new(
        config: &VqAutoencoderConfig,
        seed: u64,
        device: &Device,
    ) -> Result<Self, ConfigError> {
        let VqAutoencoderConfig {
            layers,
            codes,
            code_channels,
        } = config;
        layers.validate()?;
        if [*codes, *code_channels].contains(&0) {
            return Err(ConfigError::new(
                "a codebook needs at least one code of one channel".into(),
            ));
        }
        let init = &mut Init::new(seed, device);
        let latent = layers.latent_channels;
        Ok(Self {
            encoder: Encoder::new(init, layers, latent),
            decoder: Decoder::new(init, layers),
            quantize: Codebook {
                embedding: init.embedding(*codes, *code_channels),
            },
            quant_conv: init.conv(latent, *code_channels, 1, 1),
            post_quant_conv: init.conv(*code_channels, latent, 1, 1),
            config: config.clone(),
        })
    }

    /// What the autoencoder was built from.
    pub fn config(&self) -> &VqAutoencoderConfig {
        &self.config
    }

    /// # Shapes
    /// - `images`: `[batch, channels, height, width]` in [-1, 1], height and width multiples of
    ///   [`AutoencoderConfig::factor`]
    /// - output: `[batch, code_channels, height / factor, width / factor]`, not rounded
    pub fn encode(&self, images: Tensor<4>) -> Tensor<4> {
        conv(&self.quant_conv, self.encoder.forward(images))
    }

    /// # Shapes
    /// - `latents`: `[batch, code_channels, height, width]`
    /// - output: `[batch, channels, height · factor, width · factor]`, about [-1, 1]
    pub fn decode(&self, latents: Tensor<4>) -> Tensor<4> {
        let rounded = self.quantize.round(latents);
        self.decoder.forward(conv(&self.post_quant_conv, rounded))
    }

    /// [`VqAutoencoder::decode`] in tiles, as
    /// [`Autoencoder::decode_tiled`](crate::Autoencoder::decode_tiled) does it.
    pub fn decode_tiled(&self, latents: Tensor<4>, tiles: Tiles) -> Tensor<4> {
        tiled(latents, tiles, self.config.layers.factor(), |tile| {
            self.decode(tile)
        })
    }
}

impl Codebook {
    /// The nearest code at every position, by ‖z − e‖² less ‖z‖², which is the same for all codes.
    /// One latent after another: the distances of a big one to all codes fill a good part of the
    /// memory.
    fn round(&self, latents: Tensor<4>) -> Tensor<4> {
        let [_, channels, height, width] = latents.dims();
        let codes = self.embedding.weight.val();
        let lengths = codes.clone().square().sum_dim(1).transpose();
        let rounded = latents.split(1, 0).into_iter().map(|latent| {
            let positions = latent.reshape([channels, height * width]).transpose();
            let distances = positions.matmul(codes.clone().transpose()) * -2.0 + lengths.clone();
            let nearest = distances.argmin(1).squeeze_dim::<1>(1);
            let nearest = codes.clone().select(0, nearest).transpose();
            nearest.reshape([1, channels, height, width])
        });
        Tensor::cat(rounded.collect(), 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever is decoded is a row of the table, and the one that is nearest by its definition.
    #[test]
    fn every_position_becomes_its_nearest_code() {
        let device = Device::flex();
        let table = [[0.0, 0.0], [1.0, 0.5], [-2.0, 3.0f32]];
        let mut embedding = Init::new(1, &device).embedding(3, 2);
        embedding.weight = embedding.weight.map(|_| Tensor::from_data(table, &device));
        let latents = [
            [[[0.9, -1.0]], [[0.1, 1.0f32]]],
            [[[0.6, 0.4]], [[0.4, 0.3]]],
        ];
        let rounded = Codebook { embedding }.round(Tensor::from_data(latents, &device));
        assert_eq!(rounded.dims(), [2, 2, 1, 2]);
        let rounded = rounded.into_data().try_to_vec::<f32>().expect("f32 data");
        for (sample, latent) in latents.iter().enumerate() {
            for (position, (x, y)) in latent[0][0].iter().zip(&latent[1][0]).enumerate() {
                let distance = |code: &[f32; 2]| (x - code[0]).hypot(y - code[1]);
                let nearest = table
                    .iter()
                    .min_by(|a, b| distance(a).total_cmp(&distance(b)));
                let start = 4 * sample + position;
                assert_eq!(Some(&[rounded[start], rounded[start + 2]]), nearest);
            }
        }
    }
}
