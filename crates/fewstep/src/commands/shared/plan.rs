//! What `fewstep plan` and `--dry-run` print: what a run would do, and what it would take.

use super::grids::shown_at_once;
use super::run::RunArgs;
use crate::error::{CliResult, IntoCliResult};
use crate::numbers::thousands;
use fewstep_distill::run::{MemoryOption, Run};
use fewstep_formats::Model;
use fewstep_kernels::device::Placement;
use serde::Serialize;

/// Prints the memory of every option; with `--dry-run` also the resolved recipe, and a table of the
/// phases with predicted time and memory.
pub(crate) fn print<R: Serialize>(
    args: &RunArgs,
    run: &Run,
    initial: &Model,
    recipe: &R,
) -> CliResult {
    let shown = shown_at_once(run);
    if !args.plan {
        println!("{}", toml::to_string(recipe).input_error()?);
    }
    if Placement::of(&run.device).has_own_memory() {
        println!(
            "Memory is predicted for a run on the CPU in f32: there is no prediction for this device yet."
        );
    }
    // Printed before the trial updates, which may not fit into memory.
    print_options(&run.memory_options(initial, shown)?);
    if let Some(bytes) = run.encoding() {
        println!(
            "Before that, {} images and their captions are encoded, which takes {}.",
            thousands(run.examples.len() as u64),
            memory(bytes)
        );
    }
    match args.plan {
        true => Ok(()),
        false => print_phases(run, initial, shown),
    }
}

fn print_options(options: &[MemoryOption]) {
    println!("{:<18} {:>13} {:>10}", "trained", "checkpointing", "memory");
    for option in options {
        println!(
            "{:<18} {:>13} {:>10}",
            if option.lora { "LoRA" } else { "all of it" },
            if option.checkpointing { "yes" } else { "no" },
            memory(option.bytes)
        );
    }
}

fn print_phases(run: &Run, initial: &Model, shown: usize) -> CliResult {
    let plans = run.plan(initial, shown)?;
    println!();
    println!(
        "{:<18} {:>9} {:>7} {:>22} {:>9} {:>10}",
        "phase", "updates", "batch", "network calls/sample", "time", "memory"
    );
    for plan in &plans {
        println!(
            "{:<18} {:>9} {:>7} {:>22} {:>9} {:>10}",
            plan.name,
            plan.updates,
            plan.batch,
            format!("{} + {} trained", plan.cost.frozen, plan.cost.trained),
            duration(plan.seconds),
            memory(plan.bytes)
        );
    }
    let seconds = plans.iter().map(|plan| plan.seconds).sum();
    let bytes = plans.iter().map(|plan| plan.bytes).max().unwrap_or(0);
    println!(
        "In total {} and at most {} on this machine; {} examples of {} in {}. Nothing was written to the run's folder.",
        duration(seconds),
        memory(bytes),
        run.examples.len(),
        run.examples.shape(),
        run.examples.name()
    );
    Ok(())
}

fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 90.0 => format!("{s:.0} s"),
        s if s < 5400.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.1} h", s / 3600.0),
        s => format!("{:.0} days", s / 86_400.0),
    }
}

fn memory(bytes: u64) -> String {
    match bytes as f64 / f64::from(1 << 20) {
        mib if mib < 1024.0 => format!("{mib:.0} MiB"),
        mib => format!("{:.1} GiB", mib / 1024.0),
    }
}
