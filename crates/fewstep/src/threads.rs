//! The number of threads: its flag.

use crate::parsers::positive;

/// The flag for it, which every command has.
#[derive(clap::Args)]
pub(crate) struct ThreadArgs {
    /// CPU threads to compute with [default: one for each core]. Results do not depend on it.
    #[arg(long, global = true, value_name = "N", value_parser = positive, help_heading = "Options of every command")]
    threads: Option<usize>,
}

impl ThreadArgs {
    /// Sets the number for this process.
    pub(crate) fn choose(&self) {
        if let Some(threads) = self.threads {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            // It can be set once, which is here.
            let _ = pool.build_global();
        }
        tracing::debug!("{} threads", rayon::current_num_threads());
    }
}
