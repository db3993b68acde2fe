//! Examples to leave out, by their names in a set.

use crate::config::expand_home;
use crate::input::read_text;
use crate::{DataConfig, DataError};
use std::collections::BTreeSet;
use std::path::Path;

/// The names of examples to leave out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Skip {
    names: BTreeSet<String>,
}

impl Skip {
    /// Reads the list that the configuration names: a name on each line. Lines that start with `#`
    /// are comments.
    pub(crate) fn of(config: &DataConfig) -> Result<Self, DataError> {
        let Some(file) = &config.skip else {
            return Ok(Self::default());
        };
        let text = read_text(&expand_home(file))?;
        let lines = text.lines().map(str::trim_end);
        let names = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        Ok(Self {
            names: names.map(String::from).collect(),
        })
    }

    /// Whether an example is left out.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// How many examples of a tar or parquet file of this name are left out.
    pub(crate) fn count_in(&self, file: &str) -> usize {
        let first = format!("{file}:");
        let from_there = self.names.range(first.clone()..);
        from_there
            .take_while(|name| name.starts_with(&first))
            .count()
    }

    /// How many are left out.
    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }
}

/// The name of a file of a set: its path from the set's folder on, or its own name where the set is
/// that file.
pub(crate) fn name_of(file: &Path, config: &DataConfig) -> String {
    let root = expand_home(&config.path);
    let name = file.strip_prefix(&root).unwrap_or(file);
    let name = match name.as_os_str().is_empty() {
        true => Path::new(file.file_name().unwrap_or_default()),
        false => name,
    };
    let parts = name.iter().map(|part| part.to_string_lossy());
    parts.collect::<Vec<_>>().join("/")
}
