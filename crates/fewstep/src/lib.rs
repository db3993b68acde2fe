//! fewstep turns a slow diffusion model into one that draws in 1 to 4 steps.
//!
//! This crate is the facade: it re-exports the libraries behind the `fewstep` program and adds the
//! [`Generator`], which draws images with a model and its sampler recipe.

mod generator;
mod text_generator;

pub use fewstep_data as data;
pub use fewstep_diffusion as diffusion;
pub use fewstep_diffusion::{Sampler, SamplerConfig};
pub use fewstep_distill as distill;
pub use fewstep_formats as formats;
pub use fewstep_kernels as kernels;
pub use fewstep_metrics as metrics;
pub use fewstep_nn as nn;
pub use generator::{DrawError, Generator, Request, from_images, to_images};
pub use text_generator::{Canvas, TextGenerator, TextRequest, Texts};
