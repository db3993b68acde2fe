//! Labels that are the names of classes.

use super::table::Table;
use crate::skip::{Skip, name_of};
use crate::{DataConfig, DataError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A label as it is stored.
pub(super) enum Label {
    Number(i64),
    Name(String),
}

/// The number of each class whose name is a label.
pub(super) type ClassNumbers = Arc<BTreeMap<String, i64>>;

/// The classes of files whose labels are names: those in rows that are not left out, sorted.
pub(super) fn named_classes(
    tables: &[Table],
    config: &DataConfig,
) -> Result<ClassNumbers, DataError> {
    let skip = Skip::of(config)?;
    let mut names = BTreeSet::new();
    for table in tables {
        let file = name_of(table.path(), config);
        for (row, label) in table.labels()?.enumerate() {
            // What is no name is refused with its row, when that is read.
            if let Some(Label::Name(name)) = label?
                && !skip.has(&format!("{file}:{row}"))
            {
                names.insert(name);
            }
        }
    }
    Ok(Arc::new(names.into_iter().zip(0..).collect()))
}
