//! The type of weights that configurations name.

use super::precision::{WeightPrecision, files};
use crate::fields::read_object;
use crate::{FormatError, copy_atomically, write_json_atomically};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

pub(crate) const CONFIG: &str = "config.json";

/// A configuration as it was before another type was named in it, next to it. Only its bytes say
/// that the part is the one that was copied.
pub(crate) const ORIGINAL: &str = "config.original.json";

/// The names of the type, in newer and in older versions of transformers.
const KEYS: [&str; 2] = ["dtype", "torch_dtype"];

/// Says in the configurations of transformers, in a folder and below, that weights are of this type:
/// it loads a text encoder in the type that is named there, or else in that of its first weight,
/// and diffusers' pipelines want one type in all parts. What a configuration was before stays next
/// to it, for [`as_given`].
///
/// # Errors
/// When a file cannot be read or written.
pub(crate) fn name_precision(folder: &Path, precision: WeightPrecision) -> Result<(), FormatError> {
    for config in files(folder, |path| path.ends_with(CONFIG))? {
        let original = original_of(&config);
        let mut fields = read_object(original.as_deref().unwrap_or(&config))?;
        match (name(&mut fields, precision), original) {
            (false, None) => {}
            (false, Some(original)) => {
                copy_atomically(&original, &config)?;
                // What stays of it says the same.
                let _ = std::fs::remove_file(original);
            }
            (true, original) => {
                if original.is_none() {
                    copy_atomically(&config, &config.with_file_name(ORIGINAL))?;
                }
                write_json_atomically(&config, &Value::Object(fields))?;
            }
        }
    }
    Ok(())
}

/// Names the type in a configuration; whether that changes it.
fn name(fields: &mut Map<String, Value>, precision: WeightPrecision) -> bool {
    let of_transformers = fields.contains_key("model_type");
    let mut keys: Vec<&str> = KEYS.to_vec();
    keys.retain(|key| fields.contains_key(*key));
    if keys.is_empty() && of_transformers {
        keys.extend(KEYS.last());
    }
    let named = json!(precision.in_pytorch());
    let old = keys
        .into_iter()
        .map(|key| fields.insert(key.into(), named.clone()));
    // All of them are inserted.
    old.filter(|old| old.as_ref() != Some(&named)).count() > 0
}

/// The file that has the bytes which a file of a part was given with: a configuration's
/// [`ORIGINAL`], where it has one and nothing but the type was changed since. None for that one
/// itself.
pub(crate) fn as_given(file: &Path) -> Option<PathBuf> {
    let name = file.file_name().and_then(|name| name.to_str());
    match name {
        Some(CONFIG) => Some(original_of(file).unwrap_or_else(|| file.into())),
        Some(ORIGINAL) if original_of(&file.with_file_name(CONFIG)).is_some() => None,
        _ => Some(file.into()),
    }
}

fn original_of(config: &Path) -> Option<PathBuf> {
    let original = config.with_file_name(ORIGINAL);
    let without_type = |file: &Path| {
        let mut fields = read_object(file).ok()?;
        KEYS.iter().for_each(|key| drop(fields.remove(*key)));
        Some(fields)
    };
    let same = original.is_file() && without_type(&original)? == without_type(config)?;
    same.then_some(original)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(file: &Path) -> String {
        std::fs::read_to_string(file).expect("a file")
    }

    #[test]
    fn the_type_is_named_and_the_bytes_before_are_known() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = folder.path().join("text_encoder").join(CONFIG);
        std::fs::create_dir(config.parent().expect("a folder")).expect("made");
        let original = config.with_file_name(ORIGINAL);
        let named = |precision| name_precision(folder.path(), precision).expect("named");
        for (given, key) in [
            (r#"{"model_type":"bert",  "dtype": "float16"}"#, "dtype"),
            (r#"{"torch_dtype": null}"#, "torch_dtype"),
            (r#"{"model_type": "clip_text_model"}"#, "torch_dtype"),
        ] {
            std::fs::write(&config, given).expect("written");
            for precision in [WeightPrecision::F32, WeightPrecision::Bf16] {
                named(precision);
                let fields = read_object(&config).expect("an object");
                assert_eq!(fields[key], precision.in_pytorch(), "{given}");
                let known = as_given(&config).expect("a file");
                assert_eq!(read(&known), given);
                assert_eq!(as_given(&original), None);
            }
            std::fs::remove_file(&original).expect("there");
        }
        // What says so already stays as it is, and what comes back does too.
        std::fs::write(&config, r#"{"dtype":   "float16"}"#).expect("written");
        for precision in ["F16", "F32", "F16"] {
            match precision {
                "F16" => named(WeightPrecision::F16),
                _ => named(WeightPrecision::F32),
            }
            assert_eq!(original.exists(), precision == "F32");
        }
        assert_eq!(read(&config), r#"{"dtype":   "float16"}"#);
        // Networks of diffusers name none.
        std::fs::write(&config, r#"{"_class_name": "AutoencoderKL"}"#).expect("written");
        named(WeightPrecision::F32);
        assert_eq!(read(&config), r#"{"_class_name": "AutoencoderKL"}"#);
    }

    #[test]
    fn a_configuration_that_was_changed_is_another() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = folder.path().join(CONFIG);
        std::fs::write(&config, r#"{"dtype": "float16", "layers": 2}"#).expect("written");
        name_precision(folder.path(), WeightPrecision::F32).expect("named");
        let changed = read(&config).replace("\"layers\": 2", "\"layers\": 3");
        assert_ne!(changed, read(&config));
        std::fs::write(&config, &changed).expect("written");
        assert_eq!(as_given(&config).as_deref(), Some(&*config));
        let original = config.with_file_name(ORIGINAL);
        assert_eq!(as_given(&original).as_deref(), Some(&*original));
    }
}
