//! Lines of a name and a value, with the values aligned.

use std::fmt;

/// Lines of a name and a value; a line without a name belongs to the one above.
#[derive(Default)]
pub(super) struct Fields {
    lines: Vec<(&'static str, String)>,
}

impl Fields {
    /// Adds a line.
    pub(super) fn add(&mut self, name: &'static str, value: impl Into<String>) {
        self.lines.push((name, value.into()));
    }

    /// Adds a line, unless the value is empty.
    pub(super) fn add_some(&mut self, name: &'static str, value: &str) {
        if !value.is_empty() {
            self.add(name, value);
        }
    }

    /// Adds several values under one name.
    pub(super) fn add_all(&mut self, name: &'static str, values: impl IntoIterator<Item = String>) {
        for (index, value) in values.into_iter().enumerate() {
            self.add(if index == 0 { name } else { "" }, value);
        }
    }
}

impl fmt::Display for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self
            .lines
            .iter()
            .map(|(name, _)| name.len())
            .max()
            .unwrap_or(0);
        for (index, (name, value)) in self.lines.iter().enumerate() {
            let end = if index + 1 < self.lines.len() {
                "\n"
            } else {
                ""
            };
            write!(f, "{name:width$}  {value}{end}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_aligned() {
        let mut fields = Fields::default();
        fields.add("Seed", "1");
        fields.add_some("Teacher", "");
        fields.add_all("Phases", ["one".to_string(), "two".into()]);
        assert_eq!(fields.to_string(), "Seed    1\nPhases  one\n        two");
    }
}
