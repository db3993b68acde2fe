//! Models on disk: reading, writing, and what travels with the weights.
//!
//! A model is a folder in the layout of diffusers (`model_index.json`, `unet/`, `scheduler/`) with the sampler
//! recipe beside it in `fewstep.json`. The recipe and the network's shape also travel inside the weights, so
//! that the safetensors file alone is a whole model.

mod atomic;
mod controlnet;
mod diffusers;
mod error;
mod folder;
mod header;
mod lora;
mod model;
mod pickle;
mod single_file;
mod stored;
mod weights;

pub use atomic::{write_atomically, write_atomically_with, write_json_atomically};
pub use controlnet::{CONTROLNET_FILE, ControlNetModel};
pub use error::FormatError;
pub use folder::{
    Classes, ClipTokenizer, Pipeline, PipelineComponents, RepositoryFiles, TextEncoder, Tokens,
    Wanted, WordPiece,
};
pub use lora::{LORA_FOLDER, export_lora, read_lora};
pub use model::{Model, WEIGHTS_FILE};
pub use pickle::Pickles;
pub use single_file::GgufPrecision;
pub use weights::FilePrecision;
