//! Models in diffusers' folders: read as they are, and against the outputs of diffusers and
//! transformers (tools/golden/latent.py, tools/golden/latent_classes.py, tools/golden/sdxl.py,
//! tools/golden/text_lora.py, tools/golden/pixel_folders.py).

mod classes;
mod few_steps;
mod golden;
mod networks;
mod older_folders;
mod pipelines;
mod pixels;
mod refusals;
mod sdxl;
mod single_file;
mod text_inputs;
mod text_lora;
mod writing;
