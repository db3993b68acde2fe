//! Layers that several networks share.

pub(crate) mod attention;
pub(crate) mod embedding;
pub(crate) mod ops;
pub(crate) mod patches;
pub(crate) mod resample;
pub(crate) mod resnet;
