//! A latent diffusion model in diffusers' folder layout.

mod autoencoder;
mod fields;
mod pipeline;
mod scheduler;
mod surroundings;
mod text;
mod unet;
mod weights;

pub use pipeline::Pipeline;
pub(crate) use pipeline::part_tensors;
pub use surroundings::Surroundings;
pub use text::{ClipTokenizer, TextEncoder, Tokens, WordPiece};
pub(crate) use weights::{Part, apply};
