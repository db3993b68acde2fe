//! A configuration file, field by field: every field is used, known to mean nothing, or refused by
//! name.

use crate::{FormatError, reading};
use fewstep_diffusion::limits;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::ops::RangeBounds;
use std::ops::RangeInclusive;
use std::path::Path;

/// The fields of a JSON file that nobody has read yet.
#[derive(Debug)]
pub(crate) struct Fields {
    origin: String,
    values: Map<String, Value>,
    nulls: Vec<String>,
}

impl Fields {
    /// Reads a file with one JSON object. Names that start with `_`, null, and the fields that
    /// libraries write about themselves are left out.
    pub(crate) fn read(path: &Path) -> Result<Self, FormatError> {
        let values = read_object(path)?;
        let nulls = values.iter().filter(|(_, value)| value.is_null());
        let nulls = nulls.map(|(name, _)| name.clone()).collect();
        let class = values.get("_class_name").cloned();
        let said = |(name, value): &(String, Value)| !name.starts_with('_') && !value.is_null();
        let mut values: Map<_, _> = values.into_iter().filter(said).collect();
        values.extend(class.map(|class| ("_class_name".to_string(), class)));
        Ok(Self {
            origin: path.display().to_string(),
            values,
            nulls,
        })
    }

    /// Whether a field is null, where that does not mean the same as a missing one.
    pub(crate) fn says_null(&self, name: &str) -> bool {
        self.nulls.iter().any(|null| null == name)
    }

    /// Refuses null for a field where null is something else than its default.
    pub(crate) fn not_null(&self, name: &str) -> Result<(), FormatError> {
        match self.says_null(name) {
            true => Err(self.bad(format!(
                "field `{name}` is null, which this version does not support"
            ))),
            false => Ok(()),
        }
    }

    /// A field that may be missing.
    pub(crate) fn optional<T: DeserializeOwned>(
        &mut self,
        name: &str,
    ) -> Result<Option<T>, FormatError> {
        let Some(value) = self.values.remove(name) else {
            return Ok(None);
        };
        let read = serde_json::from_value(value.clone());
        read.map(Some)
            .map_err(|error| self.bad(format!("field `{name}` is {value}: {error}")))
    }

    /// A field that has a default.
    pub(crate) fn or<T: DeserializeOwned>(
        &mut self,
        name: &str,
        default: T,
    ) -> Result<T, FormatError> {
        Ok(self.optional(name)?.unwrap_or(default))
    }

    /// A field that counts something, of which no model has more than `most`.
    pub(crate) fn count(
        &mut self,
        name: &str,
        default: usize,
        most: usize,
    ) -> Result<usize, FormatError> {
        let value = self.or(name, default)?;
        let counted = limits::count(name, value, most).map(|()| value);
        counted.map_err(|error| self.bad(error.to_string()))
    }

    /// A field that is a number in a range.
    pub(crate) fn number(
        &mut self,
        name: &str,
        default: f64,
        range: impl RangeBounds<f64>,
    ) -> Result<f64, FormatError> {
        let value = self.or(name, default)?;
        let checked = limits::within(name, value, range).map(|()| value);
        checked.map_err(|error| self.bad(error.to_string()))
    }

    /// A field of counts in a range, one for each of at most `limits::LEVELS` levels.
    pub(crate) fn counts(
        &mut self,
        name: &str,
        default: Vec<usize>,
        range: RangeInclusive<usize>,
    ) -> Result<Vec<usize>, FormatError> {
        let values = self.or(name, default)?;
        let counted = limits::count(name, values.len(), limits::LEVELS);
        let counted = counted.and_then(|()| {
            let mut values = values.iter();
            values.try_for_each(|value| limits::within(name, *value, range.clone()))
        });
        match counted {
            Ok(()) => Ok(values),
            Err(error) => Err(self.bad(error.to_string())),
        }
    }

    /// A field that is required.
    pub(crate) fn needed<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, FormatError> {
        let value = self.optional(name)?;
        value.ok_or_else(|| self.bad(format!("field `{name}` is missing")))
    }

    /// Fields of which this version knows one value only.
    pub(crate) fn only(&mut self, known: &[(&str, Value)]) -> Result<(), FormatError> {
        for (name, supported) in known {
            let given = self.values.remove(*name);
            if let Some(given) = given.filter(|given| !same(given, supported)) {
                return Err(self.bad(format!(
                    "field `{name}` is {given}, and this version supports only {supported}"
                )));
            }
        }
        Ok(())
    }

    /// Whether a field is there and has not been read.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// A field as it is, where it is there.
    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        self.values.remove(name)
    }

    /// Replaces the value of a field, for a reader of other files.
    pub(crate) fn set(&mut self, name: &str, value: Value) {
        self.values.insert(name.into(), value);
    }

    /// The names of the fields that nobody has read.
    pub(crate) fn names(&self) -> impl Iterator<Item = &String> {
        self.values.keys()
    }

    /// What the file is called.
    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    /// Fields without meaning for what is computed.
    pub(crate) fn ignore(&mut self, names: &[&str]) {
        for name in names {
            self.values.remove(*name);
        }
    }

    /// All fields must have been read.
    pub(crate) fn finish(mut self) -> Result<(), FormatError> {
        self.values.remove("_class_name");
        match self.values.iter().next() {
            None => Ok(()),
            Some((name, value)) => Err(self.bad(format!(
                "field `{name}` (here {value}) is not known to this version"
            ))),
        }
    }

    /// An error about this file.
    pub(crate) fn bad(&self, reason: String) -> FormatError {
        bad(&self.origin, reason)
    }
}

/// A file with one JSON object, as it is.
pub(crate) fn read_object(path: &Path) -> Result<Map<String, Value>, FormatError> {
    let text = reading::text(path)?;
    let origin = path.display().to_string();
    // Python writes an infinity that JSON does not have, for "no limit".
    match serde_json::from_str(&text.replace("-Infinity", "null")) {
        Ok(Value::Object(values)) => Ok(values),
        Ok(_) => Err(bad(&origin, "it must hold one JSON object".into())),
        Err(error) => Err(bad(&origin, format!("it is not JSON: {error}"))),
    }
}

impl From<Fields> for Value {
    /// What nobody has read yet.
    fn from(fields: Fields) -> Self {
        Self::Object(fields.values)
    }
}

/// Numbers are the same whether written as 1 or 1.0; a list of one value over and over is that
/// value.
pub(crate) fn same(given: &Value, supported: &Value) -> bool {
    match given {
        Value::Array(values) if !supported.is_array() => values.iter().all(|v| same(v, supported)),
        _ => given == supported || given.as_f64().is_some() && given.as_f64() == supported.as_f64(),
    }
}

fn bad(origin: &str, reason: String) -> FormatError {
    FormatError::BadDescription {
        origin: origin.into(),
        reason,
    }
}
