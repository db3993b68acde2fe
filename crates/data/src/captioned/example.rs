//! One image with its caption.

use crate::DataError;

/// One image, as it is stored, with its caption.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// The image file's bytes.
    pub image: Vec<u8>,
    /// The bytes of the image given with it, if the set has given images.
    pub given: Option<Vec<u8>>,
    /// What it shows; never empty.
    pub caption: String,
    /// Where it is, for messages.
    pub origin: String,
}

/// A caption without the space around it; an empty one is an error.
pub(super) fn caption(text: String, origin: &str) -> Result<String, DataError> {
    match text.trim() {
        "" => Err(DataError::Example {
            origin: origin.into(),
            reason: "caption empty".into(),
        }),
        text => Ok(text.into()),
    }
}

/// The caption in a JSON object.
pub(super) fn caption_in(object: &serde_json::Value, origin: &str) -> Result<String, DataError> {
    let text = ["text", "caption", "TEXT", "edit_prompt"]
        .iter()
        .find_map(|key| object.get(key)?.as_str());
    let text = text.ok_or_else(|| DataError::Example {
        origin: origin.into(),
        reason: "no `text` or `caption` in its JSON".into(),
    })?;
    caption(text.into(), origin)
}
