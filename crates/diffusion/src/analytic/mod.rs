//! Denoisers known in closed form: ground truth for samplers, for distillation and for metrics.
//!
//! For data from a normal distribution, or a mixture of them, the best possible denoiser E[x | z_t]
//! is a formula. A sampler run with it must reproduce the distribution; a student distilled from it
//! has a known optimum.

mod gaussian;
mod mixture;

pub use gaussian::{Gaussian, GaussianDenoiser};
pub use mixture::{Component, Coupling, MixtureDenoiser};
