//! A latent diffusion model in diffusers' folder layout.

mod autoencoder;
mod clip;
mod fields;
mod pipeline;
mod scheduler;
mod tokenizer;
mod unet;
mod weights;

pub use pipeline::Pipeline;
pub(crate) use pipeline::part_tensors;
pub use tokenizer::{ClipTokenizer, Tokens};
pub(crate) use weights::{Part, apply};
