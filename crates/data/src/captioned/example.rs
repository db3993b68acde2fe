//! One image with its caption.

use crate::DataError;
use crate::input::BYTE_ORDER_MARK;

/// The endings of files that are captions, the preferred one first.
pub(super) const CAPTION_FILES: [&str; 3] = ["txt", "text", "caption"];
/// The keys of a JSON object that are captions, the preferred one first.
const CAPTION_KEYS: [&str; 4] = ["text", "caption", "TEXT", "edit_prompt"];

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

/// The name of an example in its set, and the example.
pub(super) type Named = (String, Result<Example, DataError>);

/// A caption without the space around it; an empty one is an error.
pub(super) fn caption(text: String, origin: &str) -> Result<String, DataError> {
    match text.trim_start_matches(BYTE_ORDER_MARK).trim() {
        "" => Err(DataError::Example {
            origin: origin.into(),
            reason: "caption empty".into(),
        }),
        text => Ok(text.into()),
    }
}

/// The caption in a JSON object, under the key that is wanted or a usual one.
pub(super) fn caption_in(
    object: &serde_json::Value,
    wanted: Option<&str>,
    origin: &str,
) -> Result<String, DataError> {
    let usual = wanted.is_none();
    let keys = wanted
        .into_iter()
        .chain(CAPTION_KEYS.into_iter().filter(|_| usual));
    let text = keys.clone().find_map(|key| object.get(key)?.as_str());
    let text = text.ok_or_else(|| DataError::Example {
        origin: origin.into(),
        reason: match wanted {
            Some(key) => format!("no `{key}`, which `data.caption` names, in its JSON"),
            None => "no `text` or `caption` in its JSON".into(),
        },
    })?;
    caption(text.into(), origin)
}
