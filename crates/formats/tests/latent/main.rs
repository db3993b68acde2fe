//! Models in diffusers' folders: read as they are, and against the outputs of diffusers and transformers
//! (tools/golden/latent.py, tools/golden/pixel_folders.py).

mod golden;
mod networks;
mod pipelines;
mod pixels;
mod refusals;
mod single_file;
mod writing;
