//! What `fewstep plan` and `--dry-run` print: what a run would do, and what it would take.

use super::grids::shown_at_once;
use super::run::RunArgs;
use crate::error::{CliResult, IntoCliResult};
use crate::memory;
use crate::numbers::thousands;
use burn::tensor::Device;
use fewstep_data::amount;
use fewstep_distill::run::{MemoryOption, Run, Target};
use fewstep_formats::Model;
use fewstep_kernels::device::{DeviceMemory, Placement};
use fewstep_kernels::memory::Predicted;
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
    let room = match args.gpu_memory {
        Some(bytes) => Room {
            target: Target::Cuda,
            memory: DeviceMemory::Own(Some(bytes)),
        },
        None => Room::of(&run.device),
    };
    // Printed before the trial updates, which may not fit into memory.
    print_options(&run.memory_options(initial, shown, room.target)?, room);
    let encoding = run.encoding();
    if let Some(predicted) = encoding {
        println!(
            "Before that, {} images and their captions are encoded, which takes {}.",
            thousands(run.examples.len() as u64),
            amount(predicted)
        );
    }
    room.check_encoding(encoding.unwrap_or(0))?;
    room.check_run(run, initial)?;
    match (args.plan, &args.ranks) {
        (true, None) => Ok(()),
        (true, Some(ranks)) => {
            let plans = run.plan_ranks(initial, shown, room.target, ranks.asked())?;
            let is_here = args.gpu_memory.is_none() && encoding.is_none();
            let timed = || Ok(is_here.then(|| run.plan(initial, shown)).transpose()?);
            ranks.print(&plans, room.target, &timed)
        }
        (false, _) => print_phases(run, initial, shown),
    }
}

/// Refuses a run that takes more memory than the machine or its device has.
pub(crate) fn check_memory(run: &Run, initial: &Model) -> CliResult {
    Room::of(&run.device).check_run(run, initial)
}

/// Refuses to encode images where that takes more memory than the machine or its device has.
pub(crate) fn check_encoding(device: &Device, predicted: u64) -> CliResult {
    Room::of(device).check_encoding(predicted)
}

/// What there is to run in.
#[derive(Clone, Copy)]
struct Room {
    target: Target,
    memory: DeviceMemory,
}

impl Room {
    fn of(device: &Device) -> Self {
        Self {
            target: Target::of(device),
            memory: Placement::of(device).memory(),
        }
    }

    fn check_run(self, run: &Run, initial: &Model) -> CliResult {
        let predicted = run.memory(initial, shown_at_once(run), self.target)?;
        memory::check_on(self.memory, "the run", predicted, LESS)
    }

    /// Encoding is done where networks compute.
    fn check_encoding(self, predicted: u64) -> CliResult {
        let predicted = match self.target {
            Target::Cpu => Predicted::of_host(predicted),
            Target::Gpu | Target::Cuda => Predicted {
                host: 0,
                device: predicted,
            },
        };
        let what = "encoding the images";
        memory::check_on(self.memory, what, predicted, "use a smaller `data.size`")
    }
}

/// Memory as one column on the CPU, and as two on a GPU.
pub(super) fn columns(target: Target, memory: Predicted) -> String {
    match target {
        Target::Cpu => format!("{:>10}", amount(memory.host)),
        _ => format!("{:>10} {:>10}", amount(memory.device), amount(memory.host)),
    }
}

/// The heads of [`columns`].
pub(super) fn heads(target: Target) -> &'static str {
    match target {
        Target::Cpu => "    memory",
        _ => "on the GPU  in memory",
    }
}

fn print_options(options: &[MemoryOption], room: Room) {
    println!(
        "{:<18} {:>13} {}",
        "trained",
        "checkpointing",
        heads(room.target)
    );
    for option in options {
        println!(
            "{:<18} {:>13} {}",
            if option.lora { "LoRA" } else { "all of it" },
            if option.checkpointing { "yes" } else { "no" },
            columns(room.target, option.memory)
        );
    }
}

fn print_phases(run: &Run, initial: &Model, shown: usize) -> CliResult {
    let plans = run.plan(initial, shown)?;
    let target = Target::of(&run.device);
    println!();
    println!(
        "{:<18} {:>9} {:>7} {:>22} {:>9} {}",
        "phase",
        "updates",
        "batch",
        "network calls/sample",
        "time",
        heads(target)
    );
    for plan in &plans {
        println!(
            "{:<18} {:>9} {:>7} {:>22} {:>9} {}",
            plan.name,
            plan.updates,
            plan.batch,
            format!(
                "{} + {} trained",
                plan.cost.frozen,
                plan.cost.trained + plan.cost.judged
            ),
            duration(plan.seconds),
            columns(target, plan.memory)
        );
    }
    let seconds = plans.iter().map(|plan| plan.seconds).sum();
    let most = plans.iter().map(|plan| plan.memory);
    let most = most.fold(Predicted::default(), Predicted::max);
    let most = match target {
        Target::Cpu => amount(most.host),
        _ => format!(
            "{} of device memory and {} of memory",
            amount(most.device),
            amount(most.host)
        ),
    };
    println!(
        "In total {} and at most {} on this machine; {} examples of {} in {}. Nothing was written to the run's folder.",
        duration(seconds),
        most,
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
