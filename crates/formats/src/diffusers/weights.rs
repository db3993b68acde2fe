//! Weights of one part of a folder, in one file or in several.

use super::part::Part;
use crate::tensors::{apply, deferred};
use crate::{FormatError, pickle, reading};
use burn::store::ModuleSnapshot;
use fewstep_nn::WeightFormat;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

/// Reads the weights of the part in this folder into a network.
pub(crate) fn load(
    network: &mut impl ModuleSnapshot,
    folder: &Path,
    part: Part,
) -> Result<(), FormatError> {
    load_in(network, folder, part, WeightFormat::default())
}

/// The same with the weights of a U-Net's blocks stored so.
pub(crate) fn load_in(
    network: &mut impl ModuleSnapshot,
    folder: &Path,
    part: Part,
    stored: WeightFormat,
) -> Result<(), FormatError> {
    let mut tensors = vec![];
    for file in files(folder, part)? {
        for mut tensor in deferred::open(&file, stored)?.1 {
            if let Some(name) = part.current_name(&tensor.name) {
                if let Some(shape) = part.current_shape(&name, &tensor.shape) {
                    tensor.shape = shape.into();
                }
                tensor.name = name;
                tensors.push(tensor);
            }
        }
    }
    apply::apply_in(network, tensors, stored, &folder.display().to_string())
}

/// Endings of files that hold the same weights: the precise ones first.
const VARIANTS: [&str; 4] = ["", ".fp16", ".non_ema", ".bf16"];

/// Where weights are.
pub(crate) enum Location {
    /// In one file.
    Whole(String),
    /// In the files that an index names.
    Sharded(String),
}

/// Weights that cannot be read.
#[derive(Clone, Copy)]
pub(crate) enum Missing {
    /// There are none.
    Weights,
    /// They are only there as a pickle.
    Safetensors,
}

impl Missing {
    /// The error about the folder or repository that they were looked for in.
    pub(crate) fn error(self, path: &Path) -> FormatError {
        match self {
            Self::Weights => FormatError::NoModel {
                path: path.into(),
                expected: "weights as .safetensors, in one file or in parts with an index",
            },
            Self::Safetensors => FormatError::OnlyPickled { path: path.into() },
        }
    }
}

/// Where a part's weights are in a folder that has the files for which `exists` says so.
pub(crate) fn locate(part: Part, exists: impl Fn(&str) -> bool) -> Result<Location, Missing> {
    let stem = part.stem();
    for variant in VARIANTS {
        let whole = format!("{stem}{variant}.safetensors");
        if exists(&whole) {
            return Ok(Location::Whole(whole));
        }
        for index in [
            format!("{stem}{variant}.safetensors.index.json"),
            format!("{stem}.safetensors.index{variant}.json"),
        ] {
            if exists(&index) {
                return Ok(Location::Sharded(index));
            }
        }
    }
    Err(match pickled(part, exists) {
        Some(_) => Missing::Safetensors,
        None => Missing::Weights,
    })
}

/// The pickled file of a part's weights.
pub(crate) fn pickled(part: Part, exists: impl Fn(&str) -> bool) -> Option<String> {
    // A text encoder has a name of its own here.
    let stems = [part.stem(), "pytorch_model"];
    let names = VARIANTS.iter().flat_map(|variant| {
        let endings = pickle::ENDINGS.iter();
        endings.flat_map(move |ending| stems.map(|stem| format!("{stem}{variant}.{ending}")))
    });
    names.into_iter().find(|name| exists(name))
}

/// The files in a folder that hold a part's weights.
pub(crate) fn files(folder: &Path, part: Part) -> Result<Vec<PathBuf>, FormatError> {
    match locate(part, |name| folder.join(name).is_file()) {
        Ok(Location::Whole(file)) => Ok(vec![folder.join(file)]),
        Ok(Location::Sharded(index)) => shards(folder, &folder.join(index)),
        Err(missing) => Err(missing.error(folder)),
    }
}

/// The files that an index names, which must exist.
fn shards(folder: &Path, index: &Path) -> Result<Vec<PathBuf>, FormatError> {
    let names = shard_names(index)?;
    for name in &names {
        if !folder.join(name).is_file() {
            return Err(bad_index(
                index,
                format!(
                    "it names the part `{name}`, which is not in the folder: copy or download it again"
                ),
            ));
        }
    }
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

/// The names in an index, which are those of files next to it.
pub(crate) fn shard_names(index: &Path) -> Result<BTreeSet<String>, FormatError> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let text = reading::text(index)?;
    let parsed: Result<Index, _> = serde_json::from_str(&text);
    let parsed = parsed.map_err(|error| bad_index(index, error.to_string()))?;
    let names: BTreeSet<String> = parsed.weight_map.into_values().collect();
    match names.iter().find(|name| !is_file_name(name)) {
        Some(name) => Err(bad_index(
            index,
            format!("it names the part `{name}`, which is no name of a file in the folder"),
        )),
        None => Ok(names),
    }
}

fn is_file_name(name: &str) -> bool {
    let mut components = Path::new(name).components();
    matches!(components.next(), Some(Component::Normal(_))) && components.next().is_none()
}

fn bad_index(index: &Path, reason: String) -> FormatError {
    FormatError::BadDescription {
        origin: index.display().to_string(),
        reason,
    }
}
