//! Image files whose captions lie beside them.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Example, caption, caption_in};
use crate::DataError;
use crate::folder::collect_images;

/// An image file, and where its caption is.
#[derive(Debug)]
pub(super) struct Listed {
    image: PathBuf,
    caption: Place,
}

#[derive(Debug)]
enum Place {
    /// In a text file.
    File(PathBuf),
    /// In a line of `metadata.jsonl`, which has been read: the line's number, and the caption or what is wrong.
    Line(usize, Result<String, String>),
}

/// The files that `metadata.jsonl` lists, where the folder has one.
pub(super) fn with_metadata(folder: &Path) -> Result<Option<Vec<Listed>>, DataError> {
    let path = folder.join("metadata.jsonl");
    if !path.is_file() {
        return Ok(None);
    }
    let text = fs::read_to_string(&path).map_err(DataError::read(&path))?;
    let lines = (1..).zip(text.lines());
    let lines = lines.filter(|(_, line)| !line.trim().is_empty());
    let listed = lines.map(|(number, line)| {
        let (file, caption) = read_line(line, &origin(&path, number));
        Listed {
            image: file.map_or_else(|| path.clone(), |file| folder.join(file)),
            caption: Place::Line(number, caption),
        }
    });
    Ok(Some(listed.collect()))
}

fn origin(metadata: &Path, line: usize) -> String {
    format!("{}, line {line}", metadata.display())
}

/// The file that a line names, and its caption or what is wrong.
fn read_line(line: &str, origin: &str) -> (Option<String>, Result<String, String>) {
    let object: serde_json::Value = match serde_json::from_str(line) {
        Ok(object) => object,
        Err(error) => return (None, Err(format!("{origin}: not JSON: {error}"))),
    };
    match object["file_name"].as_str() {
        Some(file) => {
            let caption = caption_in(&object, origin).map_err(|error| error.to_string());
            (Some(file.into()), caption)
        }
        None => (None, Err(format!("{origin}: no `file_name`"))),
    }
}

/// All image files in the folder and below, each with a text file of the same name.
pub(super) fn with_texts(folder: &Path) -> Result<Vec<Listed>, DataError> {
    let mut images = vec![];
    collect_images(folder, &mut images)?;
    let listed = images.into_iter().map(|image| Listed {
        caption: Place::File(image.with_extension("txt")),
        image,
    });
    Ok(listed.collect())
}

impl Listed {
    pub(super) fn read(&self) -> Result<Example, DataError> {
        let origin = self.image.display().to_string();
        let bad = |reason| DataError::Example {
            origin: origin.clone(),
            reason,
        };
        let caption = match &self.caption {
            Place::Line(_, Ok(caption)) => caption.clone(),
            Place::Line(_, Err(reason)) => return Err(DataError::Listed(reason.clone())),
            Place::File(path) => {
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
        let image = fs::read(&self.image).map_err(|error| match &self.caption {
            Place::Line(line, _) => bad(format!("named in line {line} of metadata.jsonl: {error}")),
            Place::File(_) => bad(error.to_string()),
        })?;
        Ok(Example {
            image,
            caption,
            origin,
        })
    }
}
