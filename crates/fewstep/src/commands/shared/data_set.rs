//! Data sets on the command line: KIND:PATH or a folder, with settings.

use crate::error::{CliError, CliResult, IntoCliResult};
use fewstep_data::{DataConfig, DataKind};
use fewstep_distill::recipe::parse_with;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::Path;

/// The names of the kinds.
const KINDS: [(&str, DataKind); 7] = [
    ("fashion-mnist", DataKind::FashionMnist),
    ("mnist", DataKind::Mnist),
    ("idx", DataKind::Idx),
    ("cifar10", DataKind::Cifar10),
    ("folder", DataKind::Folder),
    ("parquet", DataKind::Parquet),
    ("captioned", DataKind::Captioned),
];

/// The set that KIND:PATH names; a path by itself is a folder with a folder of images for each
/// class.
pub(crate) fn named(spec: &str) -> CliResult<DataConfig> {
    let find = |name: &str| KINDS.iter().find(|(kind, _)| *kind == name);
    let (kind, path) = match spec.split_once(':') {
        Some(("builtin", _)) => (DataKind::Idx, spec),
        Some((name, path)) => match find(name) {
            Some((_, kind)) => (*kind, path),
            None if Path::new(spec).exists() => (DataKind::Folder, spec),
            None => {
                let names = KINDS.map(|(name, _)| name).join(", ");
                return Err(CliError::input(format!(
                    "{spec}: `{name}` is no kind of dataset; use one of {names}"
                )));
            }
        },
        None => (DataKind::Folder, spec),
    };
    Ok(DataConfig::new(kind, path))
}

#[derive(Serialize)]
struct Section<'a> {
    data: &'a DataConfig,
}

/// The sections that describe the set `spec` after its keys are set as --set says. `known` are the
/// sections that have a meaning.
pub(crate) fn with_settings<S: DeserializeOwned>(
    data: &DataConfig,
    spec: &str,
    overrides: &[String],
    known: &[&str],
) -> CliResult<S> {
    let is_known = |given: &&String| {
        let section = given.split_once('.').map(|(section, _)| section.trim());
        section.is_some_and(|section| known.contains(&section))
    };
    if let Some(other) = overrides.iter().find(|given| !is_known(given)) {
        let known: Vec<String> = known.iter().map(|name| format!("[{name}]")).collect();
        return Err(CliError::input(format!(
            "--set {other}: only keys of {} have a meaning here, as in --set data.size=64",
            known.join(" and ")
        )));
    }
    let text = toml::to_string(&Section { data }).input_error()?;
    Ok(parse_with(&text, spec, overrides)?)
}
