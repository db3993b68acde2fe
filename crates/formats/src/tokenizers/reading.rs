//! Files of tokenizers.

use crate::FormatError;
use std::path::Path;

pub(super) fn json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, FormatError> {
    serde_json::from_str(&text(path)?).map_err(|error| bad(path, error.to_string()))
}

pub(super) fn text(path: &Path) -> Result<String, FormatError> {
    std::fs::read_to_string(path).map_err(|source| FormatError::Read {
        path: path.into(),
        source,
    })
}

pub(super) fn bad(path: &Path, reason: String) -> FormatError {
    FormatError::BadDescription {
        origin: path.display().to_string(),
        reason,
    }
}
