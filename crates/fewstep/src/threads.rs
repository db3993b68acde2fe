//! The number of threads: its flag.

use crate::error::{CliError, CliResult};
use crate::parsers::threads;

/// What the library of the threads reads.
const VARIABLE: &str = "RAYON_NUM_THREADS";

/// The flag for it, which every command has.
#[derive(clap::Args)]
pub(crate) struct ThreadArgs {
    /// CPU threads to compute with, at most 1024 [default: one for each core]. Results do not depend
    /// on it.
    #[arg(long, global = true, value_name = "N", value_parser = threads, help_heading = "Options of every command")]
    threads: Option<usize>,
}

impl ThreadArgs {
    /// Sets the number for this process.
    pub(crate) fn choose(&self) -> CliResult {
        if let Some(threads) = self.threads {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            // It can be set once, which is here.
            let _ = pool.build_global();
        } else if let Ok(text) = std::env::var(VARIABLE)
            && text.parse().is_ok_and(|number: u128| number > 0)
        {
            threads(&text)
                .map_err(|expected| CliError::input(format!("{VARIABLE}={text}: {expected}")))?;
        }
        tracing::debug!("{} threads", rayon::current_num_threads());
        Ok(())
    }
}
