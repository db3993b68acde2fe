//! The networks: modules whose parameters carry the names that diffusers and transformers give them.
//! This crate knows no noise schedule and no file.

mod backbone;
mod controlnet;
mod layers;
mod text;
mod train;
mod unet;
mod vae;

pub use backbone::{Backbone, BackboneConfig};
pub use controlnet::{ControlNet, ControlNetConfig, Fusion, Initial};
pub use text::{Bert, BertConfig, ClassEmbedder, ClipActivation, ClipText, ClipTextConfig};
pub use train::{Lora, LoraConfig, LoraLayer, Precision};
pub use unet::{
    ConfigError, Modulation, Resampling, Sinusoid, TextAttention, TrainedPart, Training, UNet,
    UNetConfig, WEmbedding,
};
pub use vae::{
    Autoencoder, AutoencoderConfig, LatentScale, Posterior, Tiles, TinyAutoencoder,
    TinyAutoencoderConfig, Vae, VqAutoencoder, VqAutoencoderConfig,
};
