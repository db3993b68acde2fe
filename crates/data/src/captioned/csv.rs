//! Tables of comma-separated values (RFC 4180).

use crate::DataError;
use serde_json::{Map, Value};
use std::path::Path;

/// A record: the line where it begins, and its values as texts under the names of the columns, or
/// what is wrong.
pub(super) type Record = (usize, Result<Value, String>);

/// The records of a table, whose first line names the columns.
///
/// # Errors
/// An empty table.
pub(super) fn records(text: &str, path: &Path) -> Result<Vec<Record>, DataError> {
    let mut rows = rows(text).into_iter();
    let (_, names) = rows.next().ok_or_else(|| DataError::Empty {
        origin: path.display().to_string(),
        hint: "its first line must name the columns, such as `file_name,text`".into(),
    })?;
    let record = |(line, values): (usize, Vec<String>)| {
        let fits = values.len() == names.len();
        let (expected, got) = (names.len(), values.len());
        let object: Map<String, Value> = names
            .iter()
            .map(|name| name.trim().to_owned())
            .zip(values.into_iter().map(Value::String))
            .collect();
        let record = match fits {
            true => Ok(Value::Object(object)),
            false => Err(format!(
                "{got} values, expected {expected} as in the first line"
            )),
        };
        (line, record)
    };
    Ok(rows.map(record).collect())
}

/// The values of each row that is not empty, with the number of its first line.
fn rows(text: &str) -> Vec<(usize, Vec<String>)> {
    let (mut rows, mut row, mut value) = (vec![], vec![], String::new());
    let (mut line, mut first, mut quoted) = (1, 1, false);
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        line += usize::from(character == '\n');
        match (character, quoted) {
            ('"', true) if characters.next_if_eq(&'"').is_some() => value.push('"'),
            ('"', true) => quoted = false,
            ('"', false) if value.is_empty() => quoted = true,
            (',', false) => row.push(std::mem::take(&mut value)),
            ('\r', false) if characters.peek() == Some(&'\n') => {}
            ('\n', false) => {
                end(&mut rows, first, &mut row, &mut value);
                first = line;
            }
            (other, _) => value.push(other),
        }
    }
    end(&mut rows, first, &mut row, &mut value);
    rows
}

/// Ends a row, unless it is an empty line.
fn end(
    rows: &mut Vec<(usize, Vec<String>)>,
    line: usize,
    row: &mut Vec<String>,
    value: &mut String,
) {
    row.push(std::mem::take(value));
    let row = std::mem::take(row);
    if row.iter().any(|value| !value.is_empty()) {
        rows.push((line, row));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_commas_and_line_ends_are_read() {
        let text = "file_name, text\r\na.png,\"one, \"\"two\"\"\nthree\"\n\nb.png,\nc.png\n";
        let read = records(text, Path::new("table.csv")).unwrap();
        let value = |file: &str, text: &str| serde_json::json!({"file_name": file, "text": text});
        assert_eq!(read[0], (2, Ok(value("a.png", "one, \"two\"\nthree"))));
        assert_eq!(read[1], (5, Ok(value("b.png", ""))));
        let (line, short) = &read[2];
        assert_eq!(*line, 6);
        assert!(short.as_ref().unwrap_err().contains("1 values, expected 2"));
        assert!(records("\n", Path::new("table.csv")).is_err());
    }
}
