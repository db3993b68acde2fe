//! One file or folder per command, and what several of them share.

pub(crate) mod bench;
pub(crate) mod cache;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod data;
pub(crate) mod depth;
pub(crate) mod distill;
pub(crate) mod edit;
pub(crate) mod eval;
pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod info;
pub(crate) mod inpaint;
pub(crate) mod instruct;
pub(crate) mod man;
pub(crate) mod merge;
pub(crate) mod plan;
pub(crate) mod quickstart;
pub(crate) mod recipe;
pub(crate) mod render;
pub(crate) mod restyle;
pub(crate) mod sample;
pub(crate) mod serve;
pub(crate) mod shared;
pub(crate) mod train;
pub(crate) mod upscale;
