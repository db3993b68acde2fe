//! Which value of a recipe an error is about.

use serde::de::Unexpected;
use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

/// The keys to the value or the key at this byte of the text; none for the recipe as a whole.
pub(super) fn keys_at(table: &DeTable<'_>, byte: usize) -> Vec<String> {
    // A section's span is its header, not what follows.
    for (key, value) in table {
        if let DeValue::Table(section) = value.get_ref() {
            let inner = keys_at(section, byte);
            if !inner.is_empty() {
                return [vec![key.get_ref().to_string()], inner].concat();
            }
        }
    }
    let here = table
        .iter()
        .find(|(key, value)| key.span().contains(&byte) || value.span().contains(&byte));
    here.map_or(vec![], |(key, _)| vec![key.get_ref().to_string()])
}

/// The value that these keys lead to.
pub(super) fn value<'a>(table: &'a Table, keys: &[String]) -> Option<&'a Value> {
    let (last, sections) = keys.split_last()?;
    let section = sections
        .iter()
        .try_fold(table, |section, key| section.get(key)?.as_table());
    section?.get(last)
}

/// The keys from a section to the first value in it that the message is about. Sections whose `kind`
/// says which keys they have are refused as a whole.
pub(super) fn culprit(section: &Table, message: &str) -> Option<Vec<String>> {
    section.iter().find_map(|(key, value)| {
        let inner = match value {
            Value::Table(inner) => culprit(inner, message),
            _ => None,
        };
        let told = || is_about(message, value).then(Vec::new);
        let rest = inner.or_else(told)?;
        Some([vec![key.clone()], rest].concat())
    })
}

/// Whether serde's message is about such a value.
fn is_about(message: &str, value: &Value) -> bool {
    let unknown = value
        .as_str()
        .map(|text| format!("unknown variant `{text}`, "));
    let invalid = unexpected(value).map(|value| format!(": {value}, expected "));
    unknown.is_some_and(|start| message.starts_with(&start))
        || message.starts_with("invalid ") && invalid.is_some_and(|part| message.contains(&part))
}

/// The value as serde's messages name it.
fn unexpected(value: &Value) -> Option<String> {
    let named = match value {
        Value::String(text) => Unexpected::Str(text),
        Value::Integer(number) => Unexpected::Signed(*number),
        Value::Float(number) => Unexpected::Float(*number),
        Value::Boolean(flag) => Unexpected::Bool(*flag),
        Value::Array(_) => Unexpected::Seq,
        Value::Table(_) => Unexpected::Map,
        Value::Datetime(_) => return None,
    };
    Some(named.to_string())
}
