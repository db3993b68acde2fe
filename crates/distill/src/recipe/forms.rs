//! What may be written for a key that has a choice of names, some of them with values: `"snr"` or
//! `{ min-snr = 5.0 }`. The type itself is asked, by what it says of values that it refuses.

use super::place::value;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

/// What may be written for the key: each of its names, or a section where something else is given;
/// none where that says nothing new.
pub(super) fn forms<R: DeserializeOwned>(table: &Table, keys: &[String]) -> Option<Vec<String>> {
    let refused = |value| refusal::<R>(table, keys, value);
    let said = refused(String::new().into())?;
    if let Some(names) = said.strip_prefix("unknown variant ``, expected ") {
        let names = names.split('`').skip(1).step_by(2);
        return Some(names.map(|name| form(name, refused)).collect());
    }
    let wanted = said.strip_prefix(OF_TEXT)?;
    let section = wanted.starts_with("struct ") || wanted.starts_with("internally tagged ");
    let given = matches!(value(table, keys), Some(Value::Table(_)));
    (section && !given).then(|| vec!["a section with keys".into()])
}

/// How serde refuses an empty text where something else belongs.
const OF_TEXT: &str = "invalid type: string \"\", expected ";

/// How a value of this name is written.
fn form(name: &str, refused: impl Fn(Value) -> Option<String>) -> String {
    let plain = refused(name.into()).unwrap_or_default();
    if !["newtype variant", "struct variant", "tuple variant"]
        .iter()
        .any(|kind| plain.contains(kind))
    {
        return format!("\"{name}\"");
    }
    let empty = Table::from_iter([(name.to_string(), String::new().into())]);
    let said = refused(empty.into()).unwrap_or_default();
    let holds = match said.strip_prefix(OF_TEXT) {
        Some("f32" | "f64" | "u32" | "u64" | "usize" | "i32" | "i64") => "NUMBER",
        Some(_) => "...",
        None => "TEXT",
    };
    format!("{{ {name} = {holds} }}")
}

/// What is wrong with the recipe of which there is only this value, and the `kind` next to it.
fn refusal<R: DeserializeOwned>(table: &Table, keys: &[String], value: Value) -> Option<String> {
    let (first, rest) = keys.split_first()?;
    let probe = only(table, first, rest, value);
    let refused = toml::from_str::<R>(&probe.to_string()).err()?;
    Some(refused.message().to_string())
}

fn only(table: &Table, key: &str, rest: &[String], value: Value) -> Table {
    let mut alone = Table::new();
    if let Some(kind) = table.get("kind") {
        alone.insert("kind".into(), kind.clone());
    }
    let value = match (rest.split_first(), table.get(key)) {
        (Some((next, rest)), Some(Value::Table(section))) => {
            only(section, next, rest, value).into()
        }
        _ => value,
    };
    alone.insert(key.into(), value);
    alone
}
