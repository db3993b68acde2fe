//! Layers that several networks share.

pub(crate) mod block;
pub(crate) mod embedding;
pub(crate) mod resample;
