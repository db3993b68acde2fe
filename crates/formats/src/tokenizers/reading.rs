//! Files of tokenizers.

use crate::{FormatError, reading};
use std::path::Path;

pub(super) fn json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, FormatError> {
    serde_json::from_str(&text(path)?).map_err(|error| bad(path, error.to_string()))
}

pub(super) fn text(path: &Path) -> Result<String, FormatError> {
    reading::text(path)
}

pub(super) fn bad(path: &Path, reason: String) -> FormatError {
    FormatError::BadDescription {
        origin: path.display().to_string(),
        reason,
    }
}
