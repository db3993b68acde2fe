//! Panics. One that nobody catches ends the fuzzer.

use std::backtrace::Backtrace;
use std::panic::PanicHookInfo;

/// Prints a panic, unless it is one of the parquet crate: its reader is known to panic, and
/// `fewstep-data` makes an error of that.
pub fn report(panic: &PanicHookInfo) {
    let file = panic.location().map_or("", |location| location.file());
    if !file.contains("/parquet-") {
        eprintln!("{panic}\n{}", Backtrace::force_capture());
    }
}
