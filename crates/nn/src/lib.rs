//! The networks: modules whose parameters carry the names that diffusers and transformers give them. This crate
//! knows no noise schedule and no file.

mod attention;
mod autoencoder;
mod backbone;
mod bert;
mod block;
mod classes;
mod clip;
mod config;
mod controlnet;
mod cost;
mod embedding;
mod encoder;
mod init;
mod lora;
mod precision;
mod recompute;
mod resample;
mod tiling;
mod tiny_autoencoder;
mod tokens;
mod transformer;
mod unet;
mod vae;
mod vq_autoencoder;

pub use autoencoder::{Autoencoder, AutoencoderConfig, Posterior};
pub use backbone::{Backbone, BackboneConfig};
pub use bert::{Bert, BertConfig};
pub use classes::ClassEmbedder;
pub use clip::{ClipActivation, ClipText, ClipTextConfig};
pub use config::{
    ConfigError, Modulation, Resampling, Sinusoid, TextAttention, UNetConfig, WEmbedding,
};
pub use controlnet::{ControlNet, ControlNetConfig, Fusion, Initial};
pub use cost::{TrainedPart, Training};
pub use lora::{Lora, LoraConfig, LoraLayer};
pub use precision::Precision;
pub use tiling::Tiles;
pub use tiny_autoencoder::{TinyAutoencoder, TinyAutoencoderConfig};
pub use unet::UNet;
pub use vae::{LatentScale, Vae};
pub use vq_autoencoder::{VqAutoencoder, VqAutoencoderConfig};
