//! What several commands share.

pub(crate) mod captioned;
pub(crate) mod controlled;
pub(crate) mod data_set;
pub(crate) mod example;
pub(crate) mod fidelity;
pub(crate) mod generate;
pub(crate) mod grids;
pub(crate) mod guidance;
pub(crate) mod image_files;
pub(crate) mod image_shards;
pub(crate) mod inputs;
pub(crate) mod interrupt;
pub(crate) mod loras;
pub(crate) mod measure;
pub(crate) mod mirror;
pub(crate) mod models;
pub(crate) mod plan;
pub(crate) mod plan_ranks;
pub(crate) mod prompts;
mod recipe_changes;
pub(crate) mod recipe_kind;
pub(crate) mod run;
pub(crate) mod run_folder;
pub(crate) mod sampling;
pub(crate) mod shard;
pub(crate) mod summary;
pub(crate) mod teacher_inputs;
