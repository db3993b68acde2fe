//! From TOML to a recipe, with messages for people.

use super::forms::forms;
use super::place::{culprit, keys_at, value};
use super::{DistillRecipe, PhaseRecipe, TrainRecipe};
use fewstep_formats::nearest;
use serde::de::DeserializeOwned;
use toml::de::DeTable;
use toml::{Table, Value};

/// A recipe that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecipeFileError {
    /// Not TOML, an unknown key, a value of the wrong type.
    #[error("{origin}: {message}")]
    Syntax {
        /// The file.
        origin: String,
        /// What and where.
        message: String,
    },
    /// An override without an equals sign, or into something that is no table.
    #[error("{given}: {reason}. Write it as section.key=value")]
    Override {
        /// As given.
        given: String,
        /// What is wrong.
        reason: String,
    },
}

/// Reads a recipe; unknown keys are refused with the nearest known one.
///
/// # Errors
/// See [`RecipeFileError`].
pub fn parse<R: DeserializeOwned>(text: &str, origin: &str) -> Result<R, RecipeFileError> {
    toml::from_str(text).map_err(|error| {
        let line = error.span().map(|span| line_at(text, span.start));
        let origin = line.map_or(origin.into(), |line| format!("{origin}, line {line}"));
        let message = refusal::<R>(text, &error);
        RecipeFileError::Syntax { origin, message }
    })
}

/// [`parse`] after setting `section.key=value` pairs. A value that is not TOML is a string.
///
/// # Errors
/// See [`RecipeFileError`].
pub fn parse_with<R: DeserializeOwned>(
    text: &str,
    origin: &str,
    overrides: &[String],
) -> Result<R, RecipeFileError> {
    if overrides.is_empty() {
        return parse(text, origin);
    }
    let mut table: Table = parse(text, origin)?;
    for given in overrides {
        set(&mut table, given).map_err(|reason| RecipeFileError::Override {
            given: given.clone(),
            reason,
        })?;
    }
    // Lines of this text are not those of the file.
    let text = table.to_string();
    toml::from_str(&text).map_err(|error| RecipeFileError::Syntax {
        origin: origin.into(),
        message: refusal::<R>(&text, &error),
    })
}

fn set(table: &mut Table, given: &str) -> Result<(), String> {
    let (path, value) = given.split_once('=').ok_or("there is no `=` in it")?;
    let (sections, key) = match path.trim().rsplit_once('.') {
        Some((sections, key)) => (sections.split('.').collect(), key),
        None => (vec![], path.trim()),
    };
    let mut place = table;
    for section in sections {
        place = place
            .entry(section)
            .or_insert_with(|| Value::Table(Table::new()))
            .as_table_mut()
            .ok_or_else(|| format!("`{section}` is not a section"))?;
    }
    let value = value.trim();
    let parsed = toml::from_str::<Table>(&format!("value = {value}"))
        .ok()
        .and_then(|mut table| table.remove("value"));
    let digits = value.trim_start_matches(['+', '-']);
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    if parsed.is_none() && is_number && digits.len() >= i64::MAX.to_string().len() {
        return Err("the number is too large".into());
    }
    place.insert(
        key.into(),
        parsed.unwrap_or_else(|| Value::String(value.into())),
    );
    Ok(())
}

/// The line of this byte, counted from 1.
fn line_at(text: &str, byte: usize) -> usize {
    let before = text.as_bytes().get(..byte).unwrap_or(text.as_bytes());
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

/// What is wrong with a text that is no such recipe.
fn refusal<R: DeserializeOwned>(text: &str, error: &toml::de::Error) -> String {
    match DeTable::parse(text) {
        Ok(table) => value_error::<R>(table.get_ref(), text, error),
        Err(error) => syntax(&error),
    }
}

/// What is wrong with a text that is not TOML, and the line that shows where.
fn syntax(error: &toml::de::Error) -> String {
    let (said, shown) = (error.message(), error.to_string());
    let shown = shown.trim_end();
    let shown = shown.strip_suffix(said).unwrap_or(shown);
    match shown.split_once('\n') {
        Some((_, line)) => format!("{said}\n{}", line.trim_end()),
        None => said.into(),
    }
}

/// What is wrong with a value: the key, what it is, and what it may be.
fn value_error<R: DeserializeOwned>(
    table: &DeTable<'_>,
    text: &str,
    error: &toml::de::Error,
) -> String {
    let said = error.message();
    let values: Table = toml::from_str(text).unwrap_or_default();
    let mut keys = error
        .span()
        .map_or(vec![], |span| keys_at(table, span.start));
    if let Some(section) = value(&values, &keys).and_then(Value::as_table) {
        keys.extend(culprit(section, said).unwrap_or_default());
    }
    let mut message = said.to_string();
    // What is wrong inside a name's own value is said as it is.
    let own = ["invalid ", "unknown field ", "missing field "];
    let outer = match own.iter().any(|start| said.starts_with(start)) {
        true => keys.len(),
        false => keys.len().saturating_sub(1),
    };
    for count in (outer.max(1)..=keys.len()).rev() {
        if let Some(forms) = forms::<R>(&values, &keys[..count]) {
            keys.truncate(count);
            message = format!("expected {}", either(&forms));
            break;
        }
    }
    let place = match value(&values, &keys) {
        None => String::new(),
        Some(Value::Table(_)) if said.starts_with("missing field ") => {
            format!("`[{}]`: ", keys.join("."))
        }
        Some(value) => format!("`{} = {value}`: ", keys.join(".")),
    };
    if let [key] = &keys[..]
        && said.starts_with(&format!("unknown field `{key}`"))
        && !has_key::<R>(key)
    {
        let owners = recipes_with(key);
        if !owners.is_empty() {
            return format!("{place}only {} can have it", owners.join(" and "));
        }
    }
    let nearest =
        nearest_known(said).map_or(String::new(), |name| format!("\nDid you mean `{name}`?"));
    format!("{place}{message}{nearest}")
}

/// Which recipes have a key of this name at their top.
fn recipes_with(key: &str) -> Vec<&'static str> {
    let all = [
        (has_key::<TrainRecipe>(key), "recipes that train a teacher"),
        (
            has_key::<DistillRecipe>(key),
            "distillation recipes without `method`",
        ),
        (has_key::<PhaseRecipe>(key), "recipes with a `method`"),
    ];
    let owners = all.into_iter().filter(|(has, _)| *has);
    owners.map(|(_, recipes)| recipes).collect()
}

/// Whether a recipe of this kind has this key at its top: serde names all keys that it knows when it
/// meets one that it does not.
fn has_key<R: DeserializeOwned>(key: &str) -> bool {
    let error = toml::from_str::<R>("\"\" = 0").err();
    error.is_some_and(|error| {
        error
            .message()
            .split('`')
            .skip(3)
            .step_by(2)
            .any(|known| known == key)
    })
}

/// One of these.
fn either(forms: &[String]) -> String {
    match forms {
        [others @ .., last] if !others.is_empty() => format!("{} or {last}", others.join(", ")),
        _ => forms.concat(),
    }
}

/// The known name that is nearest to an unknown one, out of serde's "unknown field `x`, expected
/// one of `a`, `b`".
fn nearest_known(message: &str) -> Option<&str> {
    if !message.starts_with("unknown ") {
        return None;
    }
    let mut names = message.split('`').skip(1).step_by(2);
    let unknown = names.next()?;
    nearest(unknown, names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optim::OptimConfig;

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest() {
        let error = parse::<OptimConfig>("bacth = 3\nlr = 1.0", "recipe.toml")
            .expect_err("refused")
            .to_string();
        assert!(error.contains("Did you mean `batch`?"), "{error}");
        assert!(error.contains("recipe.toml"), "{error}");
    }

    #[test]
    fn values_can_be_set_from_outside() {
        let set = [
            "batch=16".to_string(),
            "optimizer=adamw".into(),
            "ema.decay=0.9".into(),
        ];
        let config: OptimConfig =
            parse_with("batch = 3\nlr = 1.0", "recipe.toml", &set).expect("valid");
        assert_eq!(config.batch, 16);
        assert_eq!(config.ema, Some(crate::optim::Ema::Decay(0.9)));
        let wrong = parse_with::<OptimConfig>("lr = 1.0", "recipe.toml", &["batch".into()]);
        assert!(
            wrong
                .expect_err("refused")
                .to_string()
                .contains("section.key=value")
        );
    }
}
