//! A run: phases one after another in a folder that can be resumed at any moment.

mod batch;
mod checkpoint;
mod error;
mod feed;
mod inputs;
mod lock;
mod log;
mod memory;
mod phase;
mod phase_run;
mod plan;
mod players;
mod ranks;
mod resume;
mod runner;
mod setup;
mod share;
mod tensorboard;

pub use batch::to_device;
pub use checkpoint::{checkpoints, saved};
pub use error::RunError;
pub use inputs::RunInputs;
pub use lock::RunLock;
pub use log::{LogRecord, PlayerRecord};
pub use memory::{MemoryOption, Target};
pub use phase::Phase;
pub use plan::PhasePlan;
pub use ranks::{RankPlan, RanksPlan};
pub use resume::ChangedUpdates;
pub use runner::is_run;
pub use setup::{Ended, Event, Observer, Run};
