//! An autoencoder of any kind, with the scale of its latents.

mod kl;
mod tiling;
mod tiny;
mod vq;

pub use kl::{Autoencoder, AutoencoderConfig, Posterior};
pub use tiling::Tiles;
pub use tiny::{TinyAutoencoder, TinyAutoencoderConfig};
pub use vq::{VqAutoencoder, VqAutoencoderConfig};

use burn::module::Module;
use burn::tensor::Tensor;

/// From an autoencoder's latents to those of a diffusion model: (latent − shift) · factor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LatentScale {
    /// 0.18215 for Stable Diffusion.
    pub factor: f64,
    /// Usually 0.
    pub shift: f64,
}

/// Images to the latents that a diffusion model works on, and back.
#[derive(Clone, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "a program has a handful of these"
)]
pub enum Vae {
    /// The autoencoder of latent diffusion.
    Kl(Autoencoder, LatentScale),
    /// The tiny autoencoder.
    Tiny(TinyAutoencoder, LatentScale),
    /// That of latent diffusion with a codebook.
    Vq(VqAutoencoder, LatentScale),
}

impl Vae {
    /// The mean latents of images in [-1, 1].
    ///
    /// # Shapes
    /// - `images`: `[batch, channels, height, width]`, height and width multiples of
    ///   [`Vae::factor`]
    /// - output: `[batch, latent_channels, height / factor, width / factor]`
    pub fn encode(&self, images: Tensor<4>) -> Tensor<4> {
        let LatentScale { factor, shift } = self.scale();
        (self.source_concat(images) - shift) * factor
    }

    /// What a model that edits by instruction sees next to the noisy latents: the mean latents of
    /// images in [-1, 1], not scaled as a diffusion model's own are.
    ///
    /// # Shapes
    /// Those of [`Vae::encode`].
    pub fn source_concat(&self, images: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Kl(network, _) => network.encode(images).mean,
            Self::Tiny(network, _) => network.encode(images),
            Self::Vq(network, _) => network.encode(images),
        }
    }

    /// Images, about [-1, 1]. Big ones are decoded in tiles, where they are given.
    ///
    /// # Shapes
    /// The reverse of [`Vae::encode`].
    pub fn decode(&self, latents: Tensor<4>, tiles: Option<Tiles>) -> Tensor<4> {
        let LatentScale { factor, shift } = self.scale();
        self.decode_unscaled(latents / factor + shift, tiles)
    }

    /// The images of latents that are not scaled: the reverse of [`Vae::source_concat`].
    pub fn decode_source(&self, latents: Tensor<4>) -> Tensor<4> {
        self.decode_unscaled(latents, Some(Tiles::default()))
    }

    fn decode_unscaled(&self, latents: Tensor<4>, tiles: Option<Tiles>) -> Tensor<4> {
        match (self, tiles) {
            (Self::Kl(network, _), Some(tiles)) => network.decode_tiled(latents, tiles),
            (Self::Kl(network, _), None) => network.decode(latents),
            (Self::Tiny(network, _), _) => network.decode(latents),
            (Self::Vq(network, _), Some(tiles)) => network.decode_tiled(latents, tiles),
            (Self::Vq(network, _), None) => network.decode(latents),
        }
    }

    /// What an inpainting model sees next to the noisy latents, for images in [-1, 1] and masks
    /// that are 1 where an image is to be filled and 0 elsewhere: the mask, of which each latent
    /// position takes the nearest pixel as PyTorch does, and the latents of the images with the
    /// masked part in grey.
    ///
    /// # Shapes
    /// - `mask`: `[batch, 1, height, width]`
    /// - output: `[batch, 1 + latent_channels, height / factor, width / factor]`
    pub fn inpaint_concat(&self, images: Tensor<4>, mask: Tensor<4>) -> Tensor<4> {
        let [batch, _, height, width] = mask.dims();
        let factor = self.factor();
        let (rows, columns) = (height / factor, width / factor);
        let corners = mask
            .clone()
            .reshape([batch, rows, factor, columns, factor])
            .narrow(2, 0, 1)
            .narrow(4, 0, 1)
            .reshape([batch, 1, rows, columns]);
        let known = self.encode(images * (mask * -1.0 + 1.0));
        Tensor::cat(vec![corners, known], 1)
    }

    /// By how much height and width of a latent are smaller than those of its image.
    pub fn factor(&self) -> usize {
        match self {
            Self::Kl(network, _) => network.config().factor(),
            Self::Tiny(network, _) => network.config().factor(),
            Self::Vq(network, _) => network.config().layers.factor(),
        }
    }

    /// Channels of an image.
    pub fn channels(&self) -> usize {
        match self {
            Self::Kl(network, _) => network.config().channels,
            Self::Tiny(network, _) => network.config().channels,
            Self::Vq(network, _) => network.config().layers.channels,
        }
    }

    /// Channels of a latent.
    pub fn latent_channels(&self) -> usize {
        match self {
            Self::Kl(network, _) => network.config().latent_channels,
            Self::Tiny(network, _) => network.config().latent_channels,
            Self::Vq(network, _) => network.config().code_channels,
        }
    }

    /// Number of parameters.
    pub fn parameters(&self) -> usize {
        match self {
            Self::Kl(network, _) => network.num_params(),
            Self::Tiny(network, _) => network.num_params(),
            Self::Vq(network, _) => network.num_params(),
        }
    }

    /// The most numbers that encoding one image of this height and width holds: a block has its
    /// input, what it makes of that, and its output.
    pub fn encoding(&self, [height, columns]: [usize; 2]) -> usize {
        let widths = match self {
            Self::Kl(network, _) => &network.config().widths[..],
            Self::Tiny(network, _) => &[network.config().width],
            Self::Vq(network, _) => &network.config().layers.widths,
        };
        let maps = widths.iter().enumerate();
        let largest = maps.map(|(level, width)| width * ((height * columns) >> (2 * level)));
        3 * largest.max().unwrap_or(0)
    }

    fn scale(&self) -> LatentScale {
        match self {
            Self::Kl(_, scale) | Self::Tiny(_, scale) | Self::Vq(_, scale) => *scale,
        }
    }
}
