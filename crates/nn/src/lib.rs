//! The networks: modules whose parameters carry the names that diffusers gives them. This crate knows no
//! noise schedule and no file.

mod adapter;
mod block;
mod config;
mod cost;
mod embedding;
mod encoder;
mod init;
mod resample;
mod unet;

pub use adapter::{Adapter, AdapterConfig, Fusion, Initial};
pub use config::{ConfigError, Resampling, UNetConfig, WEmbedding};
pub use unet::UNet;
