//! What networks need to be trained: initial weights, LoRA, gradient checkpointing, precision, and
//! what all of it costs in memory.

pub(crate) mod checkpointing;
pub(crate) mod cost;
pub(crate) mod init;
pub(crate) mod lora;
pub(crate) mod precision;
pub(crate) mod sum;
pub(crate) mod weight_format;

pub use cost::{AttentionTable, TrainedPart, Training};
pub use lora::{Lora, LoraConfig, LoraLayer};
pub use precision::Precision;
pub use weight_format::WeightFormat;
