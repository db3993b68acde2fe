//! A run: phases one after another in a folder that can be resumed at any moment.

mod adapt;
mod checkpoint;
mod error;
mod log;
mod phase;
mod plan;
mod runner;
mod tensorboard;

pub use adapt::{Adaptation, adapt_phases, control};
pub use error::RunError;
pub use log::LogRecord;
pub use phase::{Method, Phase, distill_phases, train_phases};
pub use plan::{PhasePlan, Way};
pub use runner::{Event, Run, is_run, to_device};
