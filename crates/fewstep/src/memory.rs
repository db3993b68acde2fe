//! Whether work fits into the memory of this machine, before it starts.

use crate::error::{CliError, CliResult};
use fewstep_data::amount;
use fewstep_kernels::device::DeviceMemory;
use fewstep_kernels::memory::{Predicted, usable};
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

/// What a device with this memory has; none if that is not known, or is not to count.
pub(crate) fn limit_on(memory: DeviceMemory) -> Option<u64> {
    match memory {
        DeviceMemory::Hosts => limit(),
        DeviceMemory::Own(has) => has.filter(|_| !FORCED.load(Ordering::Relaxed)),
    }
}

/// Refuses work that takes more memory than the machine has in all, whatever is free at the moment.
/// `advice` says how to need less.
pub(crate) fn check(what: &str, predicted: u64, advice: &str) -> CliResult {
    let limit = limit().filter(|limit| predicted > *limit);
    refuse(limit, what, predicted, "memory", "this machine", advice)
}

/// Refuses work that takes more memory than the machine, or a device whose memory is here, has in
/// all.
pub(crate) fn check_on(
    memory: DeviceMemory,
    what: &str,
    predicted: Predicted,
    advice: &str,
) -> CliResult {
    if memory == DeviceMemory::Hosts {
        return check(what, predicted.total(), advice);
    }
    check(what, predicted.host, advice)?;
    let limit = limit_on(memory).filter(|limit| predicted.device > *limit);
    let kind = "device memory";
    refuse(limit, what, predicted.device, kind, "the GPU", advice)
}

fn refuse(
    limit: Option<u64>,
    what: &str,
    predicted: u64,
    kind: &str,
    giver: &str,
    advice: &str,
) -> CliResult {
    match limit {
        None => Ok(()),
        Some(limit) => Err(CliError::input(format!(
            "{what} takes {} of {kind}, and {giver} gives the program at most {}: {advice}, or go on with --force",
            amount(predicted),
            amount(limit)
        ))),
    }
}
