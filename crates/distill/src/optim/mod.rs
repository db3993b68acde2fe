//! How parameters move: optimiser, learning rate, clipping, averaging. Knows nothing about methods.

mod adam;
mod config;
mod ema;
mod gradients;
mod stepper;

pub use config::{Anneal, Ema, OptimConfig, Optimizer};
pub use stepper::{NotFinite, Stepper, UpdateReport};
