//! Models in diffusers' folder layout, part by part: each configuration read and written in one
//! file, and the weights next to it.

pub(crate) mod controlnet;
pub(crate) mod index;
pub(crate) mod part;
pub(crate) mod scheduler;
pub(crate) mod text_encoder;
pub(crate) mod unet;
pub(crate) mod vae;
pub(crate) mod weights;
