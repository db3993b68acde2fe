//! Models in diffusers' folder layout: latent diffusion models, and others' pixel models.

pub(crate) mod autoencoder;
mod components;
mod fields;
mod pipeline;
mod pixels;
mod repository;
mod scheduler;
mod text;
pub(crate) mod unet;
mod weights;

pub use components::PipelineComponents;
pub(crate) use components::copy_with_weights;
pub(crate) use fields::Fields;
pub use pipeline::Pipeline;
pub(crate) use pipeline::part_tensors;
pub(crate) use pixels::load as load_pixels;
pub use repository::{RepositoryFiles, Wanted};
pub use text::{Classes, ClipTokenizer, TextEncoder, Tokens, WordPiece};
pub(crate) use weights::{Part, apply};
