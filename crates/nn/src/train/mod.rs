//! What networks need to be trained: initial weights, LoRA, gradient checkpointing, precision.

pub(crate) mod checkpointing;
pub(crate) mod init;
mod lora;
pub(crate) mod precision;

pub use lora::{Lora, LoraConfig, LoraLayer};
pub use precision::Precision;
