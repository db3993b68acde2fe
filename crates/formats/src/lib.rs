//! Models on disk: reading, writing, and what travels with the weights.
//!
//! A model is a folder in the layout of diffusers (`model_index.json`, `unet/`, `scheduler/`) with
//! the sampler recipe next to it in `fewstep.json`. The recipe and the network's shape also travel
//! inside the weights, so that the safetensors file is a whole model by itself.

mod atomic;
mod bounds;
mod controlnet;
mod diffusers;
mod embeddings;
mod error;
mod fields;
mod gguf;
mod inspect;
mod links;
mod lora;
mod lora_extract;
mod lora_merge;
mod model;
mod names;
mod nearest;
mod pickle;
mod pipeline;
mod places;
mod reading;
mod single_file;
mod tensors;
mod tokenizers;

pub use atomic::{
    copy_atomically, remove_unfinished, vacant, write_atomically, write_atomically_with,
    write_folder_atomically, write_json_atomically,
};
pub use controlnet::{CONTROLNET_FILE, ControlNetModel};
pub use diffusers::index::check_pipeline;
pub use diffusers::text_encoder::{Classes, TextEncoder, TextFacts, TwoClips, check_clip_skip};
pub use embeddings::{Embedding, Embeddings};
pub use error::FormatError;
pub use gguf::GgufPrecision;
pub use inspect::{Layout, UNetFacts, WeightsFile};
pub use lora::{export_lora, export_lora_with_w, read_lora};
pub use lora_extract::{ExtractedLora, extract_lora};
pub use lora_merge::{LoraFile, Loras};
pub use model::{Model, WEIGHTS_FILE, read_recipe};
pub use nearest::nearest;
pub use pickle::{Pickles, unpickle};
pub use pipeline::{ComponentFacts, Pipeline, PipelineComponents, RepositoryFiles, RepositoryKind};
pub use places::is_standard_output;
pub use reading::{bytes as read_file, text as read_text};
pub use tensors::module::FilePrecision;
pub use tensors::precision::{WeightPrecision, convert_weights};
pub use tokenizers::Tokens;
