//! Image files whose captions are in files next to them.

use super::example::{CAPTION_FILES, Example, caption};
use super::location::misplaced;
use crate::config::expand_home;
use crate::folder::Item;
use crate::input::{MAX_CAPTION, MAX_IMAGE_FILE, read_bytes, utf8};
use crate::listing::{Listing, describe};
use crate::pairs::partner;
use crate::skip::name_of;
use crate::{DataConfig, DataError, Location};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The names of lists that are read, the preferred one first.
pub(super) const LISTS: [&str; 2] = ["metadata.jsonl", "metadata.csv"];

/// For messages: what a captioned set is.
pub(super) const LAYOUTS: &str = "captioned images are image files with .txt files next to them, a folder with metadata.jsonl or metadata.csv, .tar files or .parquet files";

/// An image file, and where its caption is.
#[derive(Debug)]
pub(super) struct Listed {
    /// Its name in the set.
    pub(super) name: String,
    pub(super) image: PathBuf,
    /// The image given with it, or what is wrong; none if the set has no given images.
    pub(super) given: Option<Result<PathBuf, String>>,
    pub(super) caption: Caption,
}

#[derive(Debug)]
pub(super) enum Caption {
    /// In a text file.
    File(PathBuf),
    /// The name of a class.
    Class(usize, Arc<[String]>),
    /// In a list, which has been read: the place in it, and the caption.
    Line(String, String),
    /// What is wrong with the image's place in a list, or with its name.
    Bad(String),
}

/// All image files in the folder and below, each with a text file of the same name.
pub(super) fn with_texts(
    folder: &Path,
    config: &DataConfig,
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
    let listing = Listing::below(folder)?;
    if listing.images.is_empty() {
        return Err(listing.no_images(folder, LAYOUTS));
    }
    listing.warn(folder);
    for list in listing.left_out_named(&LISTS) {
        tracing::warn!(
            "{} is not read: a list is read where `path` names its folder",
            list.display()
        );
    }
    let mut names: HashMap<PathBuf, Vec<PathBuf>> = HashMap::new();
    for image in &listing.images {
        let same = names.entry(image.with_extension("")).or_default();
        same.push(image.clone());
    }
    warn_of_texts(folder, &listing, &names);
    let listed = listing.images.into_iter().map(|image| Listed {
        name: name_of(&image, config),
        caption: match &names[&image.with_extension("")][..] {
            [_] => Caption::File(text_of(&image, config.caption.as_deref())),
            several => Caption::Bad(same_name(several)),
        },
        given: root
            .as_ref()
            .map(|root| partner(folder, &image, root).map_err(|error| error.to_string())),
        image,
    });
    Ok(listed.collect())
}

/// Names the texts without an image.
fn warn_of_texts(folder: &Path, listing: &Listing, images: &HashMap<PathBuf, Vec<PathBuf>>) {
    let is_caption = |path: &&Path| {
        let ending = path.extension().unwrap_or_default();
        let is_one = CAPTION_FILES.iter().any(|caption| ending == *caption);
        is_one && !images.contains_key(&path.with_extension(""))
    };
    if let Some(found) = describe(listing.left_out().filter(is_caption)) {
        tracing::warn!(folder = %folder.display(), "texts without an image of the same name: {found}");
    }
}

/// The text file that belongs to an image: with the ending that is wanted, or the first of the
/// usual ones that is there.
fn text_of(image: &Path, wanted: Option<&str>) -> PathBuf {
    if let Some(ending) = wanted {
        return image.with_extension(ending.trim_start_matches('.'));
    }
    let texts = CAPTION_FILES.map(|ending| image.with_extension(ending));
    let mut found = texts.iter().filter(|path| path.exists());
    match (found.next(), found.next()) {
        (Some(first), Some(second)) => {
            tracing::warn!(
                "{} is read as the caption, and {} is not: set `data.caption` to the ending of the captions",
                first.display(),
                second.display()
            );
            first.clone()
        }
        (Some(first), None) => first.clone(),
        (None, _) => texts[0].clone(),
    }
}

/// What is wrong with images that share a caption.
fn same_name(images: &[PathBuf]) -> String {
    let name = |path: &PathBuf| {
        path.file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    let names: Vec<String> = images.iter().map(name).collect();
    format!(
        "{}: {} have one name and one caption, and it is unclear which is meant: remove or rename all but one",
        images[0].parent().unwrap_or(Path::new("")).display(),
        names.join(" and ")
    )
}

/// An image file whose caption is that of its label. The caller must refuse labels without a
/// caption.
pub(super) fn of_class(item: Item, config: &DataConfig, captions: &Arc<[String]>) -> Listed {
    Listed {
        name: name_of(&item.path, config),
        image: item.path,
        given: None,
        caption: Caption::Class(item.label.unwrap_or_default() as usize, captions.clone()),
    }
}

impl Listed {
    pub(super) fn read(&self) -> Result<Example, DataError> {
        let origin = self.image.display().to_string();
        let bad = |reason| DataError::Example {
            origin: origin.clone(),
            reason,
        };
        let unread = |what: String| {
            move |error: DataError| match error {
                DataError::Read { source, .. } => format!("{what}{source}"),
                other => format!("{what}{other}"),
            }
        };
        let caption = match &self.caption {
            Caption::Class(label, names) => names[*label].clone(),
            Caption::Line(_, caption) => caption.clone(),
            Caption::Bad(reason) => return Err(DataError::Listed(reason.clone())),
            Caption::File(path) => {
                let what = format!("its caption {}", path.display());
                let text = read_bytes(path, MAX_CAPTION)
                    .map_err(unread(format!("{what} cannot be read: ")))
                    .map_err(bad)?;
                let text = utf8(text).map_err(|reason| bad(format!("{what} is {reason}")))?;
                caption(text, &origin)?
            }
        };
        let given = match &self.given {
            None => None,
            Some(Err(reason)) => return Err(DataError::Listed(reason.clone())),
            Some(Ok(path)) => {
                let what = format!(
                    "the image given with it, {}, cannot be read: ",
                    path.display()
                );
                let bytes = read_bytes(path, MAX_IMAGE_FILE);
                Some(bytes.map_err(unread(what)).map_err(bad)?)
            }
        };
        let what = match &self.caption {
            Caption::Line(place, _) => format!("named in {place}: "),
            _ => String::new(),
        };
        let image = read_bytes(&self.image, MAX_IMAGE_FILE);
        Ok(Example {
            image: image.map_err(unread(what)).map_err(bad)?,
            given,
            caption,
            origin,
        })
    }
}
