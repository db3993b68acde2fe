//! Progress bars, which show only on a terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar with rate and remaining time. It stays hidden when standard error is not a terminal.
pub(crate) fn bar(title: &str, total: u64, unit: &str) -> ProgressBar {
    let bar = ProgressBar::new(total);
    let template = format!(
        "{{prefix:22}} {{bar:30}} {{pos}}/{{len}} {unit}  {{per_sec}}  {{eta}} left  {{msg}}"
    );
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style.progress_chars("━━─"));
    }
    bar.set_prefix(title.to_string());
    bar
}
