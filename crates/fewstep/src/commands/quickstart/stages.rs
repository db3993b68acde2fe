//! Progress of quickstart: the stage, of how many, and how far it is.

use crate::console::is_quiet;
use crate::numbers::duration;
use crate::progress;
use indicatif::ProgressBar;
use std::time::Instant;

/// The stages, one after another.
pub(super) struct Stages {
    total: usize,
    begun: usize,
}

/// A stage under way: a bar on a terminal, a line at its end elsewhere.
pub(super) struct Stage {
    title: String,
    unit: &'static str,
    bar: ProgressBar,
    started: Instant,
}

impl Stages {
    /// Progress over this number of stages.
    pub(super) fn new(total: usize) -> Self {
        Self { total, begun: 0 }
    }

    /// Passes over stages that were done before.
    pub(super) fn skip_to(&mut self, stage: usize) {
        self.begun = stage;
    }

    /// Passes over one stage.
    pub(super) fn skip(&mut self) {
        self.begun += 1;
    }

    /// Begins the next stage, of which `done` parts are done already.
    pub(super) fn start(
        &mut self,
        name: &str,
        length: u64,
        unit: &'static str,
        done: u64,
    ) -> Stage {
        self.begun += 1;
        let title = format!("{}/{} {name}", self.begun, self.total);
        let bar = progress::bar(&title, length, unit);
        bar.set_position(done);
        bar.reset_eta();
        Stage {
            title,
            unit,
            bar,
            started: Instant::now(),
        }
    }
}

impl Stage {
    /// One more part is done.
    pub(super) fn advance(&self) {
        self.bar.inc(1);
    }

    /// This number of parts is done.
    pub(super) fn reach(&self, done: usize) {
        self.bar.set_position(done as u64);
    }

    /// Shows a message next to the bar.
    pub(super) fn say(&self, message: String) {
        self.bar.set_message(message);
    }

    /// The stage is done, with this result.
    pub(super) fn finish(self, result: &str) {
        self.bar.finish_with_message(result.to_string());
        if self.bar.is_hidden() && !is_quiet() {
            let length = self.bar.length().unwrap_or_default();
            let time = duration(self.started.elapsed().as_secs_f64());
            eprintln!("{}: {length} {} in {time}, {result}", self.title, self.unit);
        }
    }
}
