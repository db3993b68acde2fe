//! Image files whose captions are in files next to them.

use super::example::{Example, caption, caption_in};
use super::location::misplaced;
use crate::config::expand_home;
use crate::folder::{collect_images, list, split_folder};
use crate::pairs::partner;
use crate::{DataConfig, DataError, Location};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An image file, and where its caption is.
#[derive(Debug)]
pub(super) struct Listed {
    image: PathBuf,
    /// The image given with it, or what is wrong; none if the set has no given images.
    given: Option<Result<PathBuf, String>>,
    caption: Caption,
}

#[derive(Debug)]
enum Caption {
    /// In a text file.
    File(PathBuf),
    /// The name of a class.
    Class(usize, Arc<[String]>),
    /// In a line of `metadata.jsonl`, which has been read: the line's number, and the caption or
    /// what is wrong.
    Line(usize, Result<String, String>),
}

/// The files that `metadata.jsonl` lists, where the folder has one.
pub(super) fn with_metadata(
    folder: &Path,
    given: Option<&Location>,
) -> Result<Option<Vec<Listed>>, DataError> {
    let path = folder.join("metadata.jsonl");
    if !path.is_file() {
        return Ok(None);
    }
    let text = fs::read_to_string(&path).map_err(DataError::read(&path))?;
    let lines = (1..).zip(text.lines());
    let lines = lines.filter(|(_, line)| !line.trim().is_empty());
    let listed = lines.map(|(number, line)| {
        let origin = origin(&path, number);
        let (file, caption, given) = match read_line(line, &origin) {
            Ok((object, file)) => {
                let caption = caption_in(&object, &origin).map_err(|error| error.to_string());
                let given =
                    given.map(|location| named(location, &object, (folder, &file), &origin));
                (folder.join(file), caption, given)
            }
            Err(reason) => (path.clone(), Err(reason), None),
        };
        Listed {
            image: file,
            given,
            caption: Caption::Line(number, caption),
        }
    });
    Ok(Some(listed.collect()))
}

/// The given image that a line names, or the one under the name of its image.
fn named(
    location: &Location,
    object: &serde_json::Value,
    (folder, file): (&Path, &str),
    origin: &str,
) -> Result<PathBuf, String> {
    let root = location.path.as_deref().map(expand_home);
    match (&location.column, root) {
        (Some(key), root) => match object[key].as_str() {
            Some(name) => Ok(root.as_deref().unwrap_or(folder).join(name)),
            None => Err(format!(
                "{origin}: no `{key}`, which `condition.column` names"
            )),
        },
        (None, Some(root)) => {
            partner(folder, &folder.join(file), &root).map_err(|error| error.to_string())
        }
        (None, None) => Err(misplaced(location, "`column`, a key of metadata.jsonl").to_string()),
    }
}

fn origin(metadata: &Path, line: usize) -> String {
    format!("{}, line {line}", metadata.display())
}

/// What a line says, and the file that it names.
fn read_line(line: &str, origin: &str) -> Result<(serde_json::Value, String), String> {
    let object: serde_json::Value = match serde_json::from_str(line) {
        Ok(object) => object,
        Err(error) => return Err(format!("{origin}: not JSON: {error}")),
    };
    match object["file_name"].as_str().map(String::from) {
        Some(file) => Ok((object, file)),
        None => Err(format!("{origin}: no `file_name`")),
    }
}

/// All image files in the folder and below, each with a text file of the same name.
pub(super) fn with_texts(
    folder: &Path,
    given: Option<&Location>,
) -> Result<Vec<Listed>, DataError> {
    let root = match given {
        None => None,
        Some(Location {
            path: Some(root),
            column: None,
        }) => Some(expand_home(root)),
        Some(location) => {
            let expected = "`path`, a folder with an image under the name of each image";
            return Err(misplaced(location, expected));
        }
    };
    let mut images = vec![];
    collect_images(folder, &mut images)?;
    let listed = images.into_iter().map(|image| Listed {
        caption: Caption::File(image.with_extension("txt")),
        given: root
            .as_ref()
            .map(|root| partner(folder, &image, root).map_err(|error| error.to_string())),
        image,
    });
    Ok(listed.collect())
}

/// All image files in the sub-folders of a folder, one for each class, and how many classes there
/// are. The caller must refuse labels without a name.
pub(super) fn with_classes(
    folder: &Path,
    config: &DataConfig,
    names: &Arc<[String]>,
) -> Result<(Vec<Listed>, usize), DataError> {
    let folder = split_folder(folder, config.split)?;
    let (items, classes) = list(&folder)?;
    let listed = items.into_iter().map(|item| Listed {
        image: item.path,
        given: None,
        caption: Caption::Class(item.label.unwrap_or_default() as usize, names.clone()),
    });
    Ok((listed.collect(), classes.len()))
}

impl Listed {
    pub(super) fn read(&self) -> Result<Example, DataError> {
        let origin = self.image.display().to_string();
        let bad = |reason| DataError::Example {
            origin: origin.clone(),
            reason,
        };
        let caption = match &self.caption {
            Caption::Class(label, names) => names[*label].clone(),
            Caption::Line(_, Ok(caption)) => caption.clone(),
            Caption::Line(_, Err(reason)) => return Err(DataError::Listed(reason.clone())),
            Caption::File(path) => {
                let text = fs::read(path).map_err(|error| {
                    bad(format!(
                        "its caption {} cannot be read: {error}",
                        path.display()
                    ))
                })?;
                let text = String::from_utf8(text)
                    .map_err(|_| bad(format!("its caption {} is not UTF-8", path.display())))?;
                caption(text, &origin)?
            }
        };
        let unread = |error: std::io::Error| match &self.caption {
            Caption::Line(line, _) => {
                bad(format!("named in line {line} of metadata.jsonl: {error}"))
            }
            Caption::File(_) | Caption::Class(..) => bad(error.to_string()),
        };
        let given = match &self.given {
            None => None,
            Some(Err(reason)) => return Err(DataError::Listed(reason.clone())),
            Some(Ok(path)) => Some(fs::read(path).map_err(|error| {
                bad(format!(
                    "the image given with it, {}, cannot be read: {error}",
                    path.display()
                ))
            })?),
        };
        Ok(Example {
            image: fs::read(&self.image).map_err(unread)?,
            given,
            caption,
            origin,
        })
    }
}
