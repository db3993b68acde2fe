//! Times one workload per line of standard input, and answers each with a line of its own: the Rust
//! side of `tools/peers/compare.py`, which describes the protocol.
//!
//! `peers ours` uses this project's operations, `peers stock` the framework's.

mod implementation;
mod ops;
mod steps;
mod unet;

use implementation::Implementation;
use ops::Workload;
use std::collections::HashMap;
use std::io::{BufRead, Error, Write};
use std::time::{Duration, Instant};

/// A round lasts this long at least.
const ROUND: Duration = Duration::from_millis(100);

fn main() -> Result<(), Error> {
    let implementation = match std::env::args().nth(1).as_deref() {
        Some("ours") => Implementation::Ours,
        Some("stock") => Implementation::Stock,
        _ => return Err(Error::other("usage: peers ours|stock")),
    };
    // The memory and the pool as the program has them.
    fewstep_kernels::memory::keep_freed_blocks();
    let mut outcomes = fewstep_kernels::parallel_parts(vec![implementation], answer);
    outcomes.remove(0)
}

/// Answers every line of standard input.
fn answer(implementation: Implementation) -> Result<(), Error> {
    let mut prepared = HashMap::new();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let workload: Workload = serde_json::from_str(&line)?;
        let call = prepared
            .entry(line)
            .or_insert_with(|| workload.prepare(implementation));
        let (start, processor, mut calls) = (Instant::now(), processor_milliseconds(), 0);
        while calls == 0 || start.elapsed() < ROUND {
            call();
            calls += 1;
        }
        let wall = start.elapsed().as_secs_f64() * 1e3 / f64::from(calls);
        let processor = (processor_milliseconds() - processor) / f64::from(calls);
        let peak = peak_megabytes();
        println!("{{\"wall\": {wall}, \"processor\": {processor}, \"peak_mb\": {peak}}}");
        std::io::stdout().flush()?;
    }
    Ok(())
}

/// The largest resident size so far, or zero where the system does not tell.
fn peak_megabytes() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kilobytes.unwrap_or(0.0) / 1024.0
}

/// The processor time of all threads so far, or zero where the system does not tell.
fn processor_milliseconds() -> f64 {
    let threads = std::fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten();
    let nanoseconds = threads.filter_map(|thread| {
        let line = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        line.split_whitespace().next()?.parse::<f64>().ok()
    });
    nanoseconds.sum::<f64>() / 1e6
}
