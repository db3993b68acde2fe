//! From TOML to a recipe, with messages for people.

use fewstep_formats::nearest;
use serde::de::DeserializeOwned;
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
    toml::from_str(text).map_err(|error| syntax(origin, &error))
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
    let mut table: Table = toml::from_str(text).map_err(|error| syntax(origin, &error))?;
    for given in overrides {
        set(&mut table, given).map_err(|reason| RecipeFileError::Override {
            given: given.clone(),
            reason,
        })?;
    }
    let text = table.to_string();
    toml::from_str(&text).map_err(|error| {
        // Lines of the whole are not those of the file.
        let place = error.span().map(|span| place(&text, span.start));
        let place = place.map_or(String::new(), |place| format!("`{place}`: "));
        let message = format!("{place}{}", error.message());
        RecipeFileError::Syntax {
            origin: origin.into(),
            message: with_nearest(message, error.message()),
        }
    })
}

/// The line at this byte of a TOML text, with the name of its section.
fn place(text: &str, byte: usize) -> String {
    let start = text[..byte].rfind('\n').map_or(0, |end| end + 1);
    let line = text[start..].lines().next().unwrap_or_default();
    let sections = text[..start].lines().rev();
    let mut sections = sections.filter_map(|line| line.strip_prefix('[')?.strip_suffix(']'));
    match sections.next() {
        Some(section) if !line.starts_with('[') => format!("{section}.{line}"),
        _ => line.into(),
    }
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
    place.insert(
        key.into(),
        parsed.unwrap_or_else(|| Value::String(value.into())),
    );
    Ok(())
}

fn syntax(origin: &str, error: &toml::de::Error) -> RecipeFileError {
    RecipeFileError::Syntax {
        origin: origin.into(),
        message: with_nearest(error.to_string().trim_end().into(), error.message()),
    }
}

/// A message with the nearest known name, if it is about an unknown one.
fn with_nearest(message: String, said: &str) -> String {
    match nearest_known(said) {
        Some(nearest) => format!("{message}\nDid you mean `{nearest}`?"),
        None => message,
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
