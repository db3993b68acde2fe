//! The operations on plain `f32` slices, without any framework.
//!
//! Every entry point takes the instruction set to use first, so that a test can force each of them,
//! and splits its work only by the shapes: results have the same bits with any number of threads.

#![expect(
    clippy::needless_range_loop,
    reason = "register tiles are indexed along two axes at once; iterator adaptors hide that, and closures are not compiled for the chosen instruction set"
)]

pub(crate) mod attention;
pub(crate) mod conv;
pub(crate) mod dot;
mod erf;
pub(crate) mod gelu;
pub(crate) mod linear;
pub(crate) mod matmul;
pub(crate) mod norm;
mod output;
mod product;
pub(crate) mod resample;
mod scratch;
pub(crate) mod simd;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod tokens;
pub(crate) mod update;
pub(crate) mod weights;
