//! Progress bars, which show only on a terminal.

use crate::console::{is_quiet, is_silent};
use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use std::fmt::Write;

/// A bar with rate and remaining time, as wide as the terminal. It stays hidden when standard error
/// is not a terminal, and with --quiet.
pub(crate) fn bar(title: &str, total: u64, unit: &str) -> ProgressBar {
    if is_quiet() || is_silent() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(total);
    let template =
        format!("{{prefix}} {{wide_bar}} {{pos}}/{{len}} {unit} {{rate}} {{eta}} left {{msg}}");
    if let Ok(style) = ProgressStyle::with_template(&template) {
        let rate = |state: &ProgressState, out: &mut dyn Write| {
            let _ = write!(out, "{}/s", short(state.per_sec()));
        };
        bar.set_style(style.with_key("rate", rate).progress_chars("━━─"));
    }
    bar.set_prefix(title.to_string());
    bar
}

/// A rate in few characters.
fn short(rate: f64) -> String {
    match rate {
        rate if rate < 10.0 => format!("{rate:.2}"),
        rate if rate < 100.0 => format!("{rate:.1}"),
        rate => format!("{rate:.0}"),
    }
}
