//! What `fewstep plan` and `--dry-run` print: what a run would do, and what it would take.

use super::grids::shown_at_once;
use super::run::RunArgs;
use crate::error::{CliResult, IntoCliResult};
use crate::memory;
use crate::numbers::thousands;
use burn::tensor::Device;
use fewstep_data::amount;
use fewstep_distill::run::{MemoryOption, Run};
use fewstep_formats::Model;
use fewstep_kernels::device::Placement;
use serde::Serialize;

/// What makes a run need less memory.
const LESS: &str = "use a smaller `batch`, a `micro_batch`, `gradient_checkpointing = true`, smaller images or a smaller network";

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
    let encoding = run.encoding();
    if let Some(predicted) = encoding {
        println!(
            "Before that, {} images and their captions are encoded, which takes {}.",
            thousands(run.examples.len() as u64),
            amount(predicted)
        );
    }
    check_encoding(&run.device, encoding.unwrap_or(0))?;
    check_memory(run, initial)?;
    match args.plan {
        true => Ok(()),
        false => print_phases(run, initial, shown),
    }
}

/// Refuses a run that takes more memory than the machine has.
pub(crate) fn check_memory(run: &Run, initial: &Model) -> CliResult {
    if Placement::of(&run.device).has_own_memory() {
        return Ok(());
    }
    let predicted = run.memory(initial, shown_at_once(run))?;
    memory::check("the run", predicted, LESS)
}

/// Refuses to encode images where that takes more memory than the machine has.
pub(crate) fn check_encoding(device: &Device, predicted: u64) -> CliResult {
    match Placement::of(device).has_own_memory() {
        true => Ok(()),
        false => memory::check(
            "encoding the images",
            predicted,
            "use a smaller `data.size`",
        ),
    }
}

fn print_options(options: &[MemoryOption]) {
    println!("{:<18} {:>13} {:>10}", "trained", "checkpointing", "memory");
    for option in options {
        println!(
            "{:<18} {:>13} {:>10}",
            if option.lora { "LoRA" } else { "all of it" },
            if option.checkpointing { "yes" } else { "no" },
            amount(option.bytes)
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
            amount(plan.bytes)
        );
    }
    let seconds = plans.iter().map(|plan| plan.seconds).sum();
    let most = plans.iter().map(|plan| plan.bytes).max().unwrap_or(0);
    println!(
        "In total {} and at most {} on this machine; {} examples of {} in {}. Nothing was written to the run's folder.",
        duration(seconds),
        amount(most),
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
