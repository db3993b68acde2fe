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
    let (line, names) = rows.next().ok_or_else(|| DataError::Empty {
        origin: path.display().to_string(),
        hint: "its first line must name the columns, such as `file_name,text`".into(),
    })?;
    let names = names.map_err(|reason| DataError::Example {
        origin: format!("line {line} of {}", path.display()),
        reason: reason.into(),
    })?;
    let record = |(line, values): Row| {
        let values = match values {
            Ok(values) => values,
            Err(reason) => return (line, Err(reason.into())),
        };
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

/// A row: the number of its first line, and its values, or what is wrong.
type Row = (usize, Result<Vec<String>, &'static str>);

/// Every row that is not empty.
fn rows(text: &str) -> Vec<Row> {
    let (mut rows, mut row, mut value) = (vec![], vec![], String::new());
    let (mut line, mut first, mut quoted, mut wrong) = (1, 1, false, None);
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        line += usize::from(character == '\n');
        match (character, quoted) {
            ('"', true) if characters.next_if_eq(&'"').is_some() => value.push('"'),
            ('"', true) => {
                quoted = false;
                if !matches!(characters.peek(), None | Some(',' | '\r' | '\n')) {
                    wrong = Some("more of a value after the quote that closes it");
                }
            }
            ('"', false) if value.is_empty() => quoted = true,
            (',', false) => row.push(std::mem::take(&mut value)),
            ('\r', false) if characters.peek() == Some(&'\n') => {}
            ('\n', false) => {
                end(&mut rows, first, &mut row, &mut value, wrong.take());
                first = line;
            }
            (other, _) => value.push(other),
        }
    }
    if quoted {
        wrong = Some("a quote is opened here and never closed");
    }
    end(&mut rows, first, &mut row, &mut value, wrong);
    rows
}

/// Ends a row, unless it is an empty line.
fn end(
    rows: &mut Vec<Row>,
    line: usize,
    row: &mut Vec<String>,
    value: &mut String,
    wrong: Option<&'static str>,
) {
    row.push(std::mem::take(value));
    let row = std::mem::take(row);
    match wrong {
        Some(reason) => rows.push((line, Err(reason))),
        None if row.iter().any(|value| !value.is_empty()) => rows.push((line, Ok(row))),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_that_do_not_fit_are_named() {
        let read = |text: &str| records(text, Path::new("table.csv"));
        for (rest, expected) in [
            ("a.png,\"a cat\nb.png,a dog\n", "never closed"),
            ("a.png,\"a cat\"s\nb.png,a dog\n", "after the quote"),
        ] {
            let read = read(&format!("file_name,text\n{rest}")).unwrap();
            let (line, record) = &read[0];
            let error = record.as_ref().unwrap_err();
            assert!(*line == 2 && error.contains(expected), "{line}: {error}");
        }
        let error = read("\"file_name,text\n").unwrap_err().to_string();
        assert!(error.contains("line 1 of table.csv"), "{error}");
    }

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
