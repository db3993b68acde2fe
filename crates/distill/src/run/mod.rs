//! A run: phases one after another in a folder that can be resumed at any moment.

mod batch;
mod checkpoint;
mod error;
mod log;
mod memory;
mod phase;
mod plan;
mod players;
mod runner;
mod tensorboard;

pub use batch::to_device;
pub use error::RunError;
pub use log::{LogRecord, PlayerRecord};
pub use memory::MemoryOption;
pub use phase::Phase;
pub use plan::PhasePlan;
pub use runner::{Event, Run, is_run};
