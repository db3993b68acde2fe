//! A latent diffusion model in diffusers' folder layout.

mod autoencoder;
mod clip;
mod fields;
mod pipeline;
mod scheduler;
mod unet;
mod weights;

pub use pipeline::Pipeline;
pub(crate) use weights::apply;
