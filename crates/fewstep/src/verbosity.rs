//! How much the program says next to its results: its flags, and the log.

use crate::console;
use crate::log::{JsonLines, LogFormat};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// The flags for it, which every command has.
#[derive(clap::Args)]
pub(crate) struct VerbosityArgs {
    /// Print only results, warnings and errors: no progress, no notes.
    #[arg(
        short,
        long,
        global = true,
        conflicts_with = "verbose",
        help_heading = "Options of every command"
    )]
    quiet: bool,
    /// Print more of what happens: files that are read, caches that are used.
    #[arg(short, long, global = true, help_heading = "Options of every command")]
    verbose: bool,
}

impl VerbosityArgs {
    /// Sets it for this process, and starts the log.
    pub(crate) fn choose(&self, format: LogFormat) {
        if self.quiet {
            console::be_quiet();
        }
        let level = match (self.quiet, self.verbose) {
            (true, _) => LevelFilter::WARN,
            (false, true) => LevelFilter::DEBUG,
            (false, false) => LevelFilter::INFO,
        };
        let log = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_writer(|| console::Log)
            // Colours are control characters, of which none are let through.
            .with_ansi(false);
        // The client of object stores tells of every request that it tries again.
        let of_stores = if self.verbose {
            level
        } else {
            LevelFilter::WARN
        };
        let told = Targets::new()
            .with_default(level)
            .with_target("object_store", of_stores);
        match format {
            LogFormat::Text => {
                let log = log.without_time().with_target(false).finish();
                log.with(told).init();
            }
            LogFormat::Json => log.event_format(JsonLines).finish().with(told).init(),
        }
    }
}
