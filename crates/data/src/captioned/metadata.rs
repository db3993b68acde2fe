//! Lists of images with their captions: `metadata.jsonl` and `metadata.csv`, as the hub has them.

use super::csv;
use super::example::caption_in;
use super::files::{Caption, LISTS, Listed};
use super::location::misplaced;
use crate::config::expand_home;
use crate::input::read_text;
use crate::pairs::partner;
use crate::skip::name_of;
use crate::{DataConfig, DataError, Location};
use serde_json::Value;
use std::path::{Component, Path, PathBuf};

/// The key of an image's file.
const FILE: &str = "file_name";

/// A list, and what it is read for.
struct List<'a> {
    /// The folder that it is in.
    folder: &'a Path,
    path: PathBuf,
    given: Option<&'a Location>,
    config: &'a DataConfig,
}

/// One record of a list: where it is, and its values or what is wrong.
type Record = (String, Result<Value, String>);

/// Whether a folder has a list.
pub(crate) fn is_in(folder: &Path) -> bool {
    LISTS.iter().any(|name| folder.join(name).is_file())
}

/// The files that the list of a folder names, where it has one: all, or those below `part` of it.
pub(super) fn with_metadata(
    folder: &Path,
    part: Option<&Path>,
    config: &DataConfig,
    given: Option<&Location>,
) -> Result<Option<Vec<Listed>>, DataError> {
    let paths = LISTS.map(|name| folder.join(name));
    let Some(path) = paths.into_iter().find(|path| path.is_file()) else {
        return Ok(None);
    };
    let list = List {
        folder,
        path,
        given,
        config,
    };
    let records = list.records()?.into_iter();
    // Bad records may be of any part.
    let belongs = |listed: &Listed| {
        let Some(part) = part else { return true };
        listed.image == list.path || listed.image.starts_with(part)
    };
    let listed = records.map(|record| list.listed(record)).filter(belongs);
    Ok(Some(listed.collect()))
}

impl List<'_> {
    fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    fn records(&self) -> Result<Vec<Record>, DataError> {
        let text = read_text(&self.path)?;
        let place = |line: usize| format!("line {line} of {}", self.name());
        if self.name().ends_with("csv") {
            let records = csv::records(&text, &self.path)?.into_iter();
            return Ok(records
                .map(|(line, record)| (place(line), record))
                .collect());
        }
        let lines = (1..)
            .zip(text.lines())
            .filter(|(_, line)| !line.trim().is_empty());
        let read = |line: &str| {
            let object = serde_json::from_str(line);
            object.map_err(|error| format!("not JSON: {error}"))
        };
        Ok(lines.map(|(n, line)| (place(n), read(line))).collect())
    }

    fn listed(&self, (place, record): Record) -> Listed {
        let origin = format!("{}, {}", self.path.display(), place_in(&place));
        let bad = |reason: String| Listed {
            name: format!("{}:{}", name_of(&self.path, self.config), place_in(&place)),
            image: self.path.clone(),
            given: None,
            caption: Caption::Bad(format!("{origin}: {reason}")),
        };
        let (record, file) = match record.and_then(|record| {
            let file = text_of(&record, FILE).ok_or(format!("no `{FILE}`"))?;
            let file = inside(self.folder, &file)?;
            Ok((record, file))
        }) {
            Ok(read) => read,
            Err(reason) => return bad(reason),
        };
        let caption = caption_in(&record, self.config.caption.as_deref(), &origin);
        let given = self.given.map(|location| {
            let given = self.given_image(location, &record, &file);
            given.map_err(|reason| format!("{origin}: {reason}"))
        });
        Listed {
            name: name_of(&file, self.config),
            image: file,
            given,
            caption: match caption {
                Ok(caption) => Caption::Line(place, caption),
                Err(error) => Caption::Bad(error.to_string()),
            },
        }
    }

    /// The given image that a record names, or the one under the name of its image.
    fn given_image(
        &self,
        location: &Location,
        record: &Value,
        file: &Path,
    ) -> Result<PathBuf, String> {
        let root = location.path.as_deref().map(expand_home);
        match (&location.column, root) {
            (Some(key), root) => match text_of(record, key) {
                Some(name) => inside(root.as_deref().unwrap_or(self.folder), &name),
                None => Err(format!("no `{key}`, which `condition.column` names")),
            },
            (None, Some(root)) => {
                partner(self.folder, file, &root).map_err(|error| error.to_string())
            }
            (None, None) => {
                let expected = format!("`column`, a key of {}", self.name());
                Err(misplaced(location, &expected).to_string())
            }
        }
    }
}

/// `line 3` of `line 3 of metadata.jsonl`.
fn place_in(place: &str) -> &str {
    place.split(" of ").next().unwrap_or(place)
}

fn text_of(record: &Value, key: &str) -> Option<String> {
    record.get(key)?.as_str().map(String::from)
}

/// The file of this name in a folder. A list that came with a set may not name others.
fn inside(folder: &Path, name: &str) -> Result<PathBuf, String> {
    let mut depth = 0i32;
    for component in Path::new(name).components() {
        depth += match component {
            Component::Normal(_) => 1,
            Component::CurDir => 0,
            Component::ParentDir => -1,
            Component::RootDir | Component::Prefix(_) => i32::MIN / 2,
        };
        if depth < 0 {
            return Err(format!(
                "`{name}` is outside of {}: name files in this folder, by relative paths",
                folder.display()
            ));
        }
    }
    Ok(folder.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_the_folder() {
        let folder = Path::new("set");
        for name in ["a.png", "b/a.png", "b/../a.png", "./a.png"] {
            assert_eq!(inside(folder, name), Ok(folder.join(name)));
        }
        for name in ["../a.png", "/a.png", "b/../../a.png", "b/../../set/a.png"] {
            let message = inside(folder, name).unwrap_err();
            assert!(message.contains(name) && message.contains("outside of set"));
        }
    }
}
