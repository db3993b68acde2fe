//! The header of a safetensors file.

use super::{Header, Tensor};
use crate::FormatError;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

/// What the library that reads these files allows.
const MAX_HEADER: u64 = 100_000_000;

#[derive(Deserialize)]
struct Fields {
    #[serde(default)]
    __metadata__: BTreeMap<String, String>,
    #[serde(flatten)]
    tensors: BTreeMap<String, Info>,
}

#[derive(Deserialize)]
struct Info {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

/// Reads the header of a file of this size, which must have room for all of its tensors.
pub(super) fn header(mut file: impl Read, size: u64, path: &Path) -> Result<Header, FormatError> {
    let broken = |reason: String| FormatError::NotSafetensors {
        origin: path.display().to_string(),
        reason,
    };
    let mut length = [0; 8];
    let short = |_| broken("it is too short".into());
    file.read_exact(&mut length).map_err(short)?;
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER || length > size.saturating_sub(8) {
        return Err(broken("it does not start with a header".into()));
    }
    let mut bytes = vec![];
    let read = file.take(length).read_to_end(&mut bytes);
    read.map_err(|error| broken(error.to_string()))?;
    let fields: Fields =
        serde_json::from_slice(&bytes).map_err(|error| broken(error.to_string()))?;
    let ends = fields.tensors.values().map(|tensor| tensor.data_offsets[1]);
    if ends.max().unwrap_or(0) > size - 8 - length {
        return Err(broken("its end is missing".into()));
    }
    let tensors = fields.tensors.into_iter().map(|(name, info)| Tensor {
        name,
        shape: info.shape,
        number: info.dtype,
    });
    Ok(Header {
        format: "safetensors".into(),
        entries: fields.__metadata__,
        tensors: tensors.collect(),
    })
}
