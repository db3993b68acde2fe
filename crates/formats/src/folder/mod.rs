//! A latent diffusion model in diffusers' folder layout.

mod autoencoder;
mod fields;
mod pipeline;
mod repository;
mod scheduler;
mod surroundings;
mod text;
mod unet;
mod weights;

pub use pipeline::Pipeline;
pub(crate) use pipeline::part_tensors;
pub use repository::Wanted;
pub use surroundings::Surroundings;
pub(crate) use surroundings::copy_with_weights;
pub use text::{ClipTokenizer, TextEncoder, Tokens, WordPiece};
pub(crate) use weights::{Part, apply};
