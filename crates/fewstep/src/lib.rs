//! fewstep turns a slow diffusion model into one that generates images in 1 to 4 steps.
//!
//! This crate is the facade: it re-exports the libraries behind the `fewstep` program. [`generate`]
//! generates images, [`distill`] trains students.

pub use fewstep_data as data;
pub use fewstep_diffusion as diffusion;
pub use fewstep_distill as distill;
pub use fewstep_formats as formats;
pub use fewstep_generate as generate;
pub use fewstep_kernels as kernels;
pub use fewstep_metrics as metrics;
pub use fewstep_nn as nn;
