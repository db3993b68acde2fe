//! Parsers of flag values that several verbs share.

use clap::builder::{PossibleValuesParser, TypedValueParser};

/// Reads one of the names of a table.
pub(crate) fn named<T: Copy + Send + Sync + 'static>(
    table: &'static [(&'static str, T)],
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(table.iter().map(|(name, _)| *name)).map(|given| {
        let entry = table.iter().find(|(name, _)| *name == given);
        entry
            .expect("the parser lets only names of the table through")
            .1
    })
}

/// Reads a whole number of at least 1.
pub(crate) fn positive(given: &str) -> Result<usize, String> {
    match given.parse() {
        Ok(0) | Err(_) => Err("expected a whole number of at least 1".into()),
        Ok(number) => Ok(number),
    }
}

/// Reads an ordinary number.
pub(crate) fn finite(given: &str) -> Result<f64, String> {
    match given.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number),
        _ => Err("expected a number such as 1 or 0.5".into()),
    }
}
