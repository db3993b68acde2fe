//! Samplers: free functions from noise to images, all with the same head.
//!
//! Each takes a denoiser, the noise (or image) to start from, the inputs of the network, a
//! [`TimeGrid`](crate::TimeGrid) and an observer that sees every step and can stop the sampler;
//! stochastic ones also take a [`StepNoise`]. [`sample`] runs the one that a [`Sampler`] names.
//!
//! A new sampler is a file here with its function, a variant of [`Sampler`] in `choice.rs` with its
//! name and network calls, a line in `run.rs`, and a test against a denoiser of
//! [`analytic`](crate::analytic) in `tests/`. If students can be distilled for it,
//! `DistilledFor::needed_by` says so. A scheduler of diffusers that means it is named in the
//! `scheduler.rs` of `fewstep-formats`; the help of `--sampler` and `docs/generate.md` list it.

mod ancestral;
mod choice;
mod config;
mod ddim;
mod dpm_solver;
mod heun;
mod interval;
mod n_step;
mod noise;
mod observer;
mod run;
mod unipc;

pub use ancestral::{ancestral, ddim_eta};
pub use choice::{Sampler, SamplerError};
pub use config::SamplerConfig;
pub use ddim::{ddim, encode};
pub use dpm_solver::dpm_solver_pp_2m;
pub use heun::{Churn, heun, heun_churn};
pub use n_step::{deterministic, multistep_consistency, stochastic};
pub use noise::StepNoise;
pub use observer::{Cancelled, Observer, Step, ignore};
pub use run::sample;
pub use unipc::{UniPcBasis, unipc};
