//! Where given images are, as a layout of captioned images can have them.

use crate::{DataError, Location};

/// The column or key that names given images, for layouts where a folder cannot.
pub(super) fn column<'a>(location: &'a Location, what: &str) -> Result<&'a str, DataError> {
    match (&location.column, &location.path) {
        (Some(column), None) => Ok(column),
        _ => Err(misplaced(location, &format!("`column`, the {what}"))),
    }
}

pub(super) fn misplaced(location: &Location, expected: &str) -> DataError {
    DataError::Config {
        key: "condition",
        got: format!("{location:?}"),
        origin: "captioned images of this layout".into(),
        expected: expected.into(),
    }
}
