//! Parsers of flag values that several commands share.

use clap::builder::{PossibleValuesParser, TypedValueParser};

/// Parses one of the names in a table.
pub(crate) fn named<T: Copy + Send + Sync + 'static>(
    table: &'static [(&'static str, T)],
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(table.iter().map(|(name, _)| *name)).map(|text| {
        let entry = table.iter().find(|(name, _)| *name == text);
        entry.expect("the parser accepts only names in the table").1
    })
}

/// Parses a whole number of at least 1.
pub(crate) fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("expected a whole number of at least 1".into()),
        Ok(number) => Ok(number),
    }
}

/// Parses a finite number.
pub(crate) fn finite(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number),
        _ => Err("expected a number such as 1 or 0.5".into()),
    }
}
