//! Whether work fits into the memory of this machine, before it starts.

use crate::error::{CliError, CliResult};
use fewstep_data::amount;
use fewstep_kernels::memory::usable;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether to go on where a prediction is above the machine's memory.
static FORCED: AtomicBool = AtomicBool::new(false);

/// The flag of commands whose memory is predicted.
#[derive(clap::Args, Clone, Copy)]
pub(crate) struct MemoryArgs {
    /// Go on although the predicted memory is more than the machine has.
    #[arg(long)]
    force: bool,
}

impl MemoryArgs {
    /// Sets it for this process.
    pub(crate) fn choose(self) {
        FORCED.store(self.force, Ordering::Relaxed);
    }
}

/// What the machine has; none if that is not known, or is not to count.
pub(crate) fn limit() -> Option<u64> {
    match FORCED.load(Ordering::Relaxed) {
        true => None,
        false => usable(),
    }
}

/// Refuses work that takes more memory than the machine has in all, whatever is free at the moment.
/// `advice` says how to need less.
pub(crate) fn check(what: &str, predicted: u64, advice: &str) -> CliResult {
    match limit().filter(|limit| predicted > *limit) {
        None => Ok(()),
        Some(limit) => Err(CliError::input(format!(
            "{what} takes {} of memory, and this machine gives the program at most {}: {advice}, or go on with --force",
            amount(predicted),
            amount(limit)
        ))),
    }
}
