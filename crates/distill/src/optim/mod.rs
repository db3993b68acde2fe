//! How parameters move: optimiser, learning rate, clipping, averaging. Knows nothing about methods.

mod config;
mod ema;
mod gradients;
mod stepper;

pub use config::{Anneal, Ema, OptimConfig, Optimizer};
pub(crate) use stepper::PART;
pub use stepper::{NotFinite, Stepper, UpdateReport};
