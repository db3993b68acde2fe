//! The operations in which a diffusion network spends its time: convolution, group normalisation
//! (with FiLM and SiLU), attention and products; and the devices that they run on.
//!
//! A network calls these functions and nothing else; which implementation runs is decided here, by
//! the device and the type of the tensors.

mod autodiff;
mod backend;
mod cpu;
pub mod device;
mod extension;
mod flex;
#[cfg(feature = "gpu")]
mod gpu;
pub mod maps;
pub mod memory;
mod ops;
mod options;
mod parallel;
mod precision;
pub mod q8;
mod reference;
mod support;
pub mod update;

pub use burn::backend::DispatchTensor;
pub use ops::{attention, checkpointed, conv2d, geglu, group_norm, group_norm_silu, linear, silu};
pub use options::Film;
pub use parallel::parallel_parts;
pub use precision::{
    allow_bf16_products, allow_tf32, bf16_products_are_allowed, has_bf16_products,
};
