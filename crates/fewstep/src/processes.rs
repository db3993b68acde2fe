//! The processes that train together: joining them, and how they end.

use crate::console;
use crate::error::{CliError, CliResult};
use fewstep_distill::{Launched, World, WorldError};
use std::time::Duration;

/// The flags of commands that several processes can run together.
#[derive(clap::Args, Default)]
pub(crate) struct ProcessArgs {
    /// Seconds that the processes of a run wait for one that does not answer, before all end
    /// [default: 600]. It must be longer than an update and the writing of a model.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=604_800), help_heading = "Several processes")]
    rank_timeout: Option<u64>,
    /// Show what all processes say; by default only rank 0 does.
    #[arg(long, help_heading = "Several processes")]
    verbose_ranks: bool,
}

impl ProcessArgs {
    /// Runs a command as one of the processes that a launcher started. When it fails in one, all
    /// end.
    pub(crate) fn together(&self, command: impl FnOnce(&World) -> CliResult) -> CliResult {
        let world = self.join()?;
        if world.is_single() {
            return command(&world);
        }
        let name = world.name().to_string();
        match (world.is_first(), self.verbose_ranks) {
            (_, true) => console::be_rank(Some(name.clone())),
            (true, false) => {}
            (false, false) => console::be_rank(None),
        }
        tracing::info!("{} processes train together", world.size());
        match command(&world) {
            Ok(()) => Ok(world.barrier()?),
            // All stop together, after the checkpoint that rank 0 writes.
            Err(stopped @ CliError::Stopped { .. }) => {
                world.barrier()?;
                Err(stopped)
            }
            Err(error) => {
                // What fails in every rank is said by one.
                if !world.is_first() {
                    std::thread::sleep(Duration::from_secs(2));
                }
                world.abort(error.report_of(&name))
            }
        }
    }

    fn join(&self) -> CliResult<World> {
        let Some(launched) = Launched::from_environment()? else {
            return Ok(World::default());
        };
        match launched.size {
            1 => Ok(World::default()),
            _ => Ok(World::join(
                &launched,
                self.rank_timeout.map(Duration::from_secs),
            )?),
        }
    }
}

impl From<WorldError> for CliError {
    /// Ranks that were started on different things, or wrongly, are bad input.
    fn from(error: WorldError) -> Self {
        match error {
            WorldError::Launch(_) | WorldError::Disagrees { .. } => CliError::Input(error.into()),
            WorldError::Silent { .. } | WorldError::Gone(_) | WorldError::Diverged(_) => {
                CliError::Work(error.into())
            }
        }
    }
}
