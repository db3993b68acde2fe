//! Floats of 8 bits, which are not read: they are refused by their name.

use crate::FormatError;
use safetensors::tensor::SafeTensors;

/// How the names of all such types begin.
const TYPES: &str = "F8_";

/// Refuses a file with a tensor of such a type.
pub(crate) fn refuse(
    file: &SafeTensors<'_>,
    origin: impl Fn() -> String,
) -> Result<(), FormatError> {
    let types = file.iter().map(|(_, view)| view.dtype().to_string());
    refuse_types(types, origin)
}

/// The same for the types of its tensors.
pub(crate) fn refuse_types(
    mut types: impl Iterator<Item = String>,
    origin: impl Fn() -> String,
) -> Result<(), FormatError> {
    match types.find(|name| name.starts_with(TYPES)) {
        None => Ok(()),
        Some(kind) => Err(FormatError::EightBits {
            origin: origin(),
            kind,
        }),
    }
}
