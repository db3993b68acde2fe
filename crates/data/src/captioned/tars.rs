//! WebDataset: tars in which files of one name and several endings are one example.

use super::example::{Example, caption, caption_in};
use super::location::column;
use crate::{DataError, Location};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use tar::Archive;

const IMAGES: [&str; 5] = ["png", "jpg", "jpeg", "webp", "bmp"];
const TEXTS: [&str; 3] = ["txt", "text", "caption"];

/// One tar file, and how many examples are in it.
#[derive(Debug)]
pub(super) struct Tar {
    path: PathBuf,
    examples: usize,
    /// The ending of given images, if the set has them.
    given: Option<String>,
}

/// What a tar has under one name.
#[derive(Default)]
struct Parts {
    key: String,
    image: Option<Vec<u8>>,
    given: Option<Vec<u8>>,
    text: Option<Vec<u8>>,
    json: Option<Vec<u8>>,
}

impl Tar {
    /// Reads the tar's headers.
    pub(super) fn open(path: &Path, given: Option<&Location>) -> Result<Self, DataError> {
        let what = "ending of their names in the tar, such as `source.png`";
        let given = given.map(|location| column(location, what)).transpose()?;
        let file = File::open(path).map_err(DataError::read(path))?;
        let damaged = |error: std::io::Error| DataError::Damaged {
            origin: path.display().to_string(),
            reason: error.to_string(),
        };
        let (mut examples, mut last) = (0, String::new());
        let mut archive = Archive::new(BufReader::new(file));
        for entry in archive.entries_with_seek().map_err(damaged)? {
            let entry = entry.map_err(damaged)?;
            if !entry.header().entry_type().is_file() {
                continue;
            }
            let (key, _) = split(&entry.path_bytes());
            if key != last {
                examples += 1;
                last = key;
            }
        }
        Ok(Self {
            path: path.into(),
            examples,
            given: given.map(|ending| ending.trim_start_matches('.').to_lowercase()),
        })
    }

    pub(super) fn len(&self) -> usize {
        self.examples
    }

    /// The examples of the tar, which is the `shard`-th of its set.
    pub(super) fn examples(
        &self,
        shard: usize,
    ) -> Box<dyn Iterator<Item = Result<Example, DataError>> + Send + '_> {
        let file = self.path.file_name().unwrap_or_default().to_string_lossy();
        let origin = format!("shard {shard} ({file})");
        // A tar's entries borrow their archive, so what comes out of a file is read at once: a
        // shard fits in memory.
        let examples = match self.read() {
            Ok(parts) => parts
                .into_iter()
                .enumerate()
                .map(|(number, parts)| {
                    let sample = format!("{origin}, sample {}", number + 1);
                    parts.example(&sample, self.given.as_deref())
                })
                .collect(),
            Err(error) => vec![Err(DataError::Damaged {
                origin,
                reason: error.to_string(),
            })],
        };
        Box::new(examples.into_iter())
    }

    fn read(&self) -> std::io::Result<Vec<Parts>> {
        let mut all: Vec<Parts> = vec![];
        let mut archive = Archive::new(BufReader::new(File::open(&self.path)?));
        for entry in archive.entries()? {
            let mut entry = entry?;
            if !entry.header().entry_type().is_file() {
                continue;
            }
            let (key, ending) = split(&entry.path_bytes());
            let mut bytes = vec![];
            entry.read_to_end(&mut bytes)?;
            if all.last().is_none_or(|last| last.key != key) {
                all.push(Parts {
                    key,
                    ..Parts::default()
                });
            }
            let Some(parts) = all.last_mut() else {
                continue;
            };
            let last = ending.rsplit('.').next().unwrap_or_default();
            match last {
                _ if self.given.as_ref() == Some(&ending) => parts.given = Some(bytes),
                // `1.png` is the image of `1.source.png` and `1.png`, whichever comes first.
                last if IMAGES.contains(&last) && (parts.image.is_none() || last == ending) => {
                    parts.image = Some(bytes);
                }
                ending if TEXTS.contains(&ending) => parts.text = Some(bytes),
                "json" => parts.json = Some(bytes),
                _ => {}
            }
        }
        Ok(all)
    }
}

impl Parts {
    fn example(self, sample: &str, given: Option<&str>) -> Result<Example, DataError> {
        let bad = |reason: &str| DataError::Example {
            origin: format!("{sample} (`{}`)", self.key),
            reason: reason.into(),
        };
        let image = self.image.ok_or_else(|| bad("no image with it"))?;
        if let (Some(ending), None) = (given, &self.given) {
            return Err(bad(&format!(
                "no `.{ending}` with it, which `condition.column` names"
            )));
        }
        let origin = format!("{sample} (`{}`)", self.key);
        let caption = match (self.text, self.json) {
            (Some(text), _) => {
                let text = String::from_utf8(text).map_err(|_| bad("caption is not UTF-8"))?;
                caption(text, &origin)?
            }
            (None, Some(json)) => {
                let object =
                    serde_json::from_slice(&json).map_err(|_| bad("its .json is not JSON"))?;
                caption_in(&object, &origin)?
            }
            (None, None) => return Err(bad("no caption (txt, text, caption or json) with it")),
        };
        Ok(Example {
            image,
            given: self.given,
            caption,
            origin,
        })
    }
}

/// The name of an example, up to the first dot of the file's name, and all that comes after that
/// dot.
fn split(path: &[u8]) -> (String, String) {
    let path = String::from_utf8_lossy(path).into_owned();
    let name = path.rfind('/').map_or(0, |slash| slash + 1);
    let dot = path[name..].find('.').map_or(path.len(), |dot| name + dot);
    let ending = path[dot..].trim_start_matches('.').to_lowercase();
    (path[..dot].into(), ending)
}
