//! Rows of results: in a file, and on the terminal.

use crate::error::CliResult;
use crate::output;
use serde::Serialize;
use std::path::Path;

/// Writes results to a JSON file.
pub(super) fn write_rows(file: &Path, rows: &impl Serialize) -> CliResult {
    output::write(file, format!("{:#}\n", serde_json::json!(rows)).as_bytes())
}

/// Prints results as JSON, or as a table.
pub(super) fn print_rows(
    json: bool,
    rows: &impl Serialize,
    table: impl FnOnce() -> CliResult<String>,
) -> CliResult {
    match json {
        true => println!("{:#}", serde_json::json!(rows)),
        false => println!("{}", table()?),
    }
    Ok(())
}
