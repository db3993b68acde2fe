//! The networks: modules whose parameters carry the names that diffusers and transformers give
//! them. This crate knows no noise schedule and no file.

mod backbone;
mod controlnet;
mod discriminator;
mod error;
mod layers;
mod text;
mod train;
mod unet;
mod vae;

pub use backbone::{Backbone, BackboneConfig};
pub use controlnet::{ControlNet, ControlNetConfig, Fusion, Initial, STEM as CONTROLNET_STEM};
pub use discriminator::{Discriminator, JudgingScore, WIDTH_MULTIPLE};
pub use error::ConfigError;
pub use layers::embedding::{Sinusoid, WEmbedding};
pub use layers::resnet::Modulation;
pub use text::{
    Bert, BertConfig, ClassEmbedder, ClipActivation, ClipText, ClipTextConfig, ClipTextOutput,
};
pub use train::{
    AttentionTable, Lora, LoraConfig, LoraLayer, Precision, TrainedPart, Training, WeightFormat,
};
pub use unet::{ExtraInput, Resampling, TextAttention, TextTime, UNet, UNetConfig};
pub use vae::{
    Autoencoder, AutoencoderConfig, LatentScale, Posterior, Tiles, TinyAutoencoder,
    TinyAutoencoderConfig, Vae, VqAutoencoder, VqAutoencoderConfig,
};
