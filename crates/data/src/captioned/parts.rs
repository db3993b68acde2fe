//! What a tar has under one name, and what an example takes of it.

use super::example::{CAPTION_FILES, Example, caption, caption_in};
use crate::input::utf8;
use crate::listing::is_image_ending;
use crate::{DataConfig, DataError};

/// The endings of the files that are taken.
#[derive(Debug)]
pub(super) struct Wanted {
    /// Of images; if not told, whichever an example has one of.
    image: Option<String>,
    /// Of captions, or the key of the caption in the `.json`.
    caption: Option<String>,
    /// Of given images, if the set has them.
    given: Option<String>,
}

/// The files of a tar under one name that may be of use, by their endings.
pub(super) struct Parts {
    key: String,
    files: Vec<(String, Vec<u8>)>,
}

impl Wanted {
    pub(super) fn new(config: &DataConfig, given: Option<&str>) -> Self {
        Self {
            image: config.column.as_deref().map(ending_of),
            caption: config.caption.clone(),
            given: given.map(ending_of),
        }
    }

    /// Whether a file with this ending may be of use.
    pub(super) fn has(&self, ending: &str) -> bool {
        let caption = self.caption.as_deref().map(ending_of);
        let named = [&self.image, &caption, &self.given];
        named.into_iter().flatten().any(|name| name == ending)
            || is_image_ending(last(ending))
            || is_text_ending(last(ending))
            || last(ending) == "json"
    }
}

impl Parts {
    pub(super) fn new(key: String) -> Self {
        let files = vec![];
        Self { key, files }
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    pub(super) fn push(&mut self, ending: String, bytes: Vec<u8>) {
        self.files.push((ending, bytes));
    }

    /// The example, the `sample` of its set.
    pub(super) fn example(mut self, sample: &str, wanted: &Wanted) -> Result<Example, DataError> {
        let origin = format!("{sample} (`{}`)", self.key);
        let bad = |reason: String| DataError::Example {
            origin: origin.clone(),
            reason,
        };
        let given = match &wanted.given {
            None => None,
            Some(ending) => Some(self.take(ending).ok_or_else(|| {
                bad(format!(
                    "no `.{ending}` with it, which `condition.column` names"
                ))
            })?),
        };
        let image = self.image(wanted.image.as_deref()).map_err(bad)?;
        let caption = self.caption(wanted.caption.as_deref(), &origin)?;
        Ok(Example {
            image,
            given,
            caption,
            origin,
        })
    }

    fn take(&mut self, ending: &str) -> Option<Vec<u8>> {
        let place = self.files.iter().position(|(known, _)| known == ending)?;
        Some(self.files.remove(place).1)
    }

    /// The only ending of this kind, or the only plain one: `1.png` is the image of `1.source.png`
    /// and `1.png`, whichever comes first. Else two of them.
    fn only(&self, is: fn(&str) -> bool) -> Result<Option<String>, [String; 2]> {
        let endings = self.files.iter().map(|(ending, _)| ending.clone());
        let mut found: Vec<String> = endings.filter(|ending| is(last(ending))).collect();
        if found.iter().any(|ending| !ending.contains('.')) {
            found.retain(|ending| !ending.contains('.'));
        }
        found.truncate(2);
        match <[String; 2]>::try_from(found) {
            Ok(two) => Err(two),
            Err(fewer) => Ok(fewer.into_iter().next()),
        }
    }

    /// The image with the ending that is wanted, or the only one.
    fn image(&mut self, wanted: Option<&str>) -> Result<Vec<u8>, String> {
        let ending = match wanted {
            Some(ending) => Some(ending.to_owned()),
            None => self
                .only(is_image_ending)
                .map_err(|two| unclear("images", "data.column", &two))?,
        };
        let image = ending.and_then(|ending| self.take(&ending));
        image.ok_or_else(|| match wanted {
            Some(ending) => format!("no `.{ending}` with it, which `data.column` names"),
            None => "no image with it".into(),
        })
    }

    /// The text with the ending that is wanted, or the only one; else what the `.json` says.
    fn caption(&mut self, wanted: Option<&str>, origin: &str) -> Result<String, DataError> {
        let bad = |reason: String| DataError::Example {
            origin: origin.into(),
            reason,
        };
        let ending = match wanted {
            Some(name) => Some(ending_of(name)),
            None => self
                .only(is_text_ending)
                .map_err(|two| bad(unclear("captions", "data.caption", &two)))?,
        };
        if let Some(text) = ending.and_then(|ending| self.take(&ending)) {
            let text = utf8(text).map_err(|reason| bad(format!("caption is {reason}")))?;
            return caption(text, origin);
        }
        let json = |(ending, _): &(String, Vec<u8>)| last(ending) == "json";
        let json = self.files.iter().position(json);
        let Some(json) = json.map(|place| self.files.remove(place).1) else {
            return Err(bad(match wanted {
                Some(name) => format!(
                    "no `.{}` with it, which `data.caption` names",
                    ending_of(name)
                ),
                None => "no caption (txt, text, caption or json) with it".into(),
            }));
        };
        let text = utf8(json).map_err(|reason| bad(format!("its .json is {reason}")))?;
        let object = serde_json::from_str(&text)
            .map_err(|error| bad(format!("its .json is not JSON: {error}")))?;
        caption_in(&object, wanted, origin)
    }
}

fn unclear(what: &str, key: &str, [first, second]: &[String; 2]) -> String {
    format!(
        "two {what} with it, `.{first}` and `.{second}`, and it is unclear which is meant: set `{key}` to the ending of those to use, such as \"{first}\", or remove one"
    )
}

/// The ending that a key of the recipe means: `.PNG` is `png`.
fn ending_of(name: &str) -> String {
    name.trim_start_matches('.').to_lowercase()
}

/// The last part of an ending: `png` of `source.png`.
fn last(ending: &str) -> &str {
    ending.rsplit('.').next().unwrap_or_default()
}

fn is_text_ending(ending: &str) -> bool {
    CAPTION_FILES.contains(&ending)
}
