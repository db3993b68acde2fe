//! What `fewstep plan --ranks` prints: what each of several processes takes, and what they gain.

use super::plan::{columns, heads};
use crate::error::{CliError, CliResult};
use crate::numbers::plural;
use fewstep_data::amount;
use fewstep_distill::run::{PhasePlan, RankPlan, RanksPlan, Target};

/// What is asked about several processes.
pub(crate) struct RanksArgs {
    /// How many, at most.
    pub(crate) ranks: usize,
    /// Bytes a second between two of them.
    pub(crate) bandwidth: f64,
    /// Seconds of an update of one process; measured where they are not given.
    pub(crate) update_seconds: Option<f64>,
}

/// What part of the speed of all ranks must be left at least for their number to be worth it.
const WORTH: f64 = 0.5;

impl RanksArgs {
    /// Ranks and bandwidth.
    pub(super) fn asked(&self) -> (usize, f64) {
        (self.ranks, self.bandwidth)
    }

    /// Prints a table for every phase. `timed` runs a few updates, where that can be done here.
    pub(super) fn print(
        &self,
        plans: &[RanksPlan],
        target: Target,
        timed: &dyn Fn() -> CliResult<Option<Vec<PhasePlan>>>,
    ) -> CliResult {
        let seconds = match self.update_seconds {
            Some(seconds) => vec![seconds; plans.len()],
            None => {
                let timed = timed()?.ok_or_else(|| {
                    CliError::input("updates cannot be timed here: give --update-seconds, as measured on the machine that will train")
                })?;
                let of_update = |plan: &PhasePlan| plan.seconds / plan.updates as f64;
                timed.iter().map(of_update).collect()
            }
        };
        for (plan, alone) in plans.iter().zip(seconds) {
            print_phase(plan, alone, target);
        }
        Ok(())
    }
}

fn print_phase(plan: &RanksPlan, alone: f64, target: Target) {
    println!();
    println!(
        "{:<18} {:>7} {:>12} {} {:>10} {:>10} {:>10} {:>10} {:>7}",
        plan.phase,
        "ranks",
        "samples each",
        heads(target),
        "sent",
        "computing",
        "exchange",
        "update",
        "gain"
    );
    for row in &plan.rows {
        println!(
            "{:<18} {:>7} {:>12} {} {:>10} {:>10} {:>10} {:>10} {:>6.0} %",
            "",
            row.ranks,
            row.samples,
            columns(target, row.memory),
            amount(row.exchanged),
            short(alone * row.share),
            short(row.exchanging),
            short(seconds(row, alone)),
            100.0 * efficiency(row, alone)
        );
    }
    let is_worth_it = |row: &&RankPlan| efficiency(row, alone) >= WORTH;
    if let Some(last) = plan.rows.iter().rfind(is_worth_it) {
        println!(
            "With up to {}, each still does at least half of what one alone does in the same time.",
            plural(last.ranks, "rank")
        );
    }
    if let Some(reason) = &plan.refused {
        println!("Why not more: {reason}.");
    }
}

/// Seconds of an update.
fn seconds(row: &RankPlan, alone: f64) -> f64 {
    alone * row.share + row.exchanging
}

/// How many times faster than one process, for each rank.
fn efficiency(row: &RankPlan, alone: f64) -> f64 {
    alone / seconds(row, alone) / row.ranks as f64
}

fn short(seconds: f64) -> String {
    match seconds {
        s if s < 1.0 => format!("{:.1} ms", 1000.0 * s),
        s => format!("{s:.2} s"),
    }
}
