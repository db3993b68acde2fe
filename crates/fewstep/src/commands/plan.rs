//! `--dry-run`: what a run would do, and what it would take.

use crate::commands::running;
use crate::failure::{Blame, Outcome};
use fewstep_distill::run::Run;
use fewstep_formats::Model;
use serde::Serialize;

/// Prints the resolved recipe and a table of the phases with predicted time and memory.
pub(crate) fn print<R: Serialize>(run: &Run, initial: &Model, recipe: &R) -> Outcome {
    let plans = run.plan(initial, running::shown_at_once(run))?;
    println!("{}", toml::to_string(recipe).blame_input()?);
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
        "In all {} and at most {} on this machine; {} examples of {} in {}. Nothing was written to the run's folder.",
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
