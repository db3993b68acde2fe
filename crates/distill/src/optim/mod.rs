//! How parameters move: optimiser, learning rate, clipping, averaging. Knows nothing about methods.

mod adam;
mod config;
mod ema;
mod gradients;
mod player;
mod seed;
mod stepper;
mod sums;

pub use config::{Anneal, Ema, OptimConfig, Optimizer};
pub(crate) use player::PlayerState;
pub(crate) use stepper::{Meanwhile, OptimizerFileError, UpdateError};
pub use stepper::{NotFinite, Stepper, UpdateReport};
