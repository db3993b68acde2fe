//! Tensors on disk: safetensors files, and the parameters of a module as one.

pub(crate) mod apply;
pub(crate) mod deferred;
pub(crate) mod eight_bits;
pub(crate) mod file;
pub(crate) mod finite;
pub(crate) mod module;
pub(crate) mod named_precision;
mod pieces;
pub(crate) mod precision;
mod pytorch;
pub(crate) mod raw;
pub(crate) mod stored;
