//! The parameters of a module as a safetensors file that describes itself.

use crate::{FormatError, folder, header};
use burn::module::Module;
use burn::store::{
    BurnToPyTorchAdapter, ChainAdapter, FloatCastAdapter, ModuleStore, SafetensorsStore,
};
use burn::tensor::DType;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};

/// The key of our description in the metadata of a safetensors file.
const METADATA_KEY: &str = "fewstep";

/// How weights are stored. Computation is in f32 either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// As they are.
    #[default]
    Full,
    /// Rounded to 16-bit floats: half the size, for sampling only.
    Half,
}

/// A module as the bytes of a safetensors file, with its description in the metadata.
pub(crate) fn to_bytes<M: Module>(
    module: &M,
    description: &impl Serialize,
    precision: Precision,
) -> Result<Vec<u8>, FormatError> {
    let failed = |reason: String| FormatError::NotSafetensors {
        origin: "the model in memory".into(),
        reason,
    };
    let description = serde_json::to_string(description).map_err(|e| failed(e.to_string()))?;
    let mut store = SafetensorsStore::from_bytes(None)
        .clear_metadata()
        .skip_enum_variants(true);
    store = match precision {
        Precision::Full => store.with_to_adapter(BurnToPyTorchAdapter),
        Precision::Half => store.with_to_adapter(ChainAdapter::new(
            BurnToPyTorchAdapter,
            FloatCastAdapter::to(DType::F16),
        )),
    };
    store
        .collect_from(module)
        .map_err(|e| failed(e.to_string()))?;
    let bytes = store.get_bytes().map_err(|e| failed(e.to_string()))?;
    let entries = [("format", "pt".to_string()), (METADATA_KEY, description)];
    let entries = entries.map(|(key, value)| (key.to_string(), value)).into();
    header::with_metadata(bytes, &entries)
}

/// Fills a module with the weights of a safetensors file, which must be those of all its parameters and no more.
pub(crate) fn fill<M: Module>(
    module: &mut M,
    bytes: Vec<u8>,
    origin: &str,
) -> Result<(), FormatError> {
    let mut store = SafetensorsStore::from_bytes(Some(bytes));
    let tensors = store
        .get_all_tensors()
        .map_err(|e| FormatError::NotSafetensors {
            origin: origin.into(),
            reason: e.to_string(),
        })?;
    folder::apply(module, tensors.values().cloned().collect(), origin)
}

/// The description in the metadata of a safetensors file.
pub(crate) fn read_description<D: DeserializeOwned>(
    bytes: &[u8],
    origin: &str,
) -> Result<D, FormatError> {
    let (_, metadata) = safetensors::SafeTensors::read_metadata(bytes).map_err(|e| {
        FormatError::NotSafetensors {
            origin: origin.into(),
            reason: e.to_string(),
        }
    })?;
    let description = metadata
        .metadata()
        .as_ref()
        .and_then(|entries| entries.get(METADATA_KEY))
        .ok_or_else(|| FormatError::NoDescription {
            origin: origin.into(),
        })?;
    serde_json::from_str(description).map_err(|e| FormatError::BadDescription {
        origin: origin.into(),
        reason: e.to_string(),
    })
}

/// The bytes of a file, or of the weights inside a folder, and what to call them in messages.
pub(crate) fn read(
    path: &Path,
    inside: &str,
    expected: &'static str,
) -> Result<(Vec<u8>, String), FormatError> {
    let file = match path.is_dir() {
        true => path.join(inside),
        false => PathBuf::from(path),
    };
    if path.is_dir() && !file.is_file() {
        return Err(FormatError::NoModel {
            path: path.into(),
            expected,
        });
    }
    let origin = file.display().to_string();
    match std::fs::read(&file) {
        Ok(bytes) => Ok((bytes, origin)),
        Err(source) => Err(FormatError::Read { path: file, source }),
    }
}
