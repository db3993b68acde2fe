//! Latent diffusion models in diffusers' folders: read as they are, and against the outputs of diffusers and
//! transformers (tools/golden/latent.py).

mod golden;
mod networks;
mod pipelines;
mod refusals;
mod single_file;
mod writing;
