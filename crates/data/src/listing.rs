//! What is in a folder, and which of it are images.

use crate::DataError;
use image::ImageFormat;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// For messages: the formats that are read.
pub(crate) const FORMATS_HINT: &str =
    "PNG, JPEG, WebP, BMP, TIFF, GIF and PNM (.ppm, .pgm) files count";

/// Endings of files that describe images, which nobody takes for images.
const TEXTS: [&str; 12] = [
    "txt", "text", "caption", "json", "jsonl", "csv", "tsv", "md", "xml", "html", "yaml", "toml",
];

/// Image files, and what was found among them.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// In the order of their names.
    pub(crate) images: Vec<PathBuf>,
    /// Files that are no images by their endings, and links that are not followed.
    left_out: Vec<PathBuf>,
}

impl Listing {
    /// The image files in `folder` and below. Links to folders are not followed.
    pub(crate) fn below(folder: &Path) -> Result<Self, DataError> {
        let mut listing = Self::default();
        listing.extend(folder)?;
        Ok(listing)
    }

    /// Appends what is in `folder` and below.
    pub(crate) fn extend(&mut self, folder: &Path) -> Result<(), DataError> {
        for path in entries(folder)? {
            if path.is_dir() && !path.is_symlink() {
                self.extend(&path)?;
            } else {
                self.push(path);
            }
        }
        Ok(())
    }

    /// Appends a file.
    pub(crate) fn push(&mut self, path: PathBuf) {
        match path.is_file() && is_image(&path) {
            true => self.images.push(path),
            false => self.left_out.push(path),
        }
    }

    /// Names what was left out of the set in `folder`, texts excepted.
    pub(crate) fn warn(&self, folder: &Path) {
        let is_text = |path: &&Path| TEXTS.contains(&&*ending(path));
        let unknown = self.left_out().filter(|path| !is_text(path));
        if let Some(found) = describe(unknown) {
            tracing::warn!(folder = %folder.display(), "left out, not image files by their extension: {found}; {FORMATS_HINT}");
        }
    }

    /// The files of these names among what was left out.
    pub(crate) fn left_out_named(&self, names: &[&str]) -> impl Iterator<Item = &Path> {
        let named = |path: &&Path| names.iter().any(|name| path.ends_with(name));
        self.left_out().filter(named)
    }

    /// Files that are no images by their endings.
    pub(crate) fn left_out(&self) -> impl Iterator<Item = &Path> {
        self.left_out.iter().map(PathBuf::as_path)
    }

    /// The error of a folder without images, with what it has instead.
    pub(crate) fn no_images(&self, folder: &Path, expected: &str) -> DataError {
        let found = describe(self.left_out());
        let found = found.map_or(String::new(), |found| format!("; there is only {found}"));
        DataError::Empty {
            origin: folder.display().to_string(),
            hint: format!("{expected}{found}"),
        }
    }
}

/// How many files there are of each ending, and the first of them; none for no files.
pub(crate) fn describe<'a>(files: impl Iterator<Item = &'a Path>) -> Option<String> {
    let mut kinds: BTreeMap<String, (usize, &Path)> = BTreeMap::new();
    for path in files {
        kinds.entry(ending(path)).or_insert((0, path)).0 += 1;
    }
    let one = |(ending, (count, first)): (&String, &(usize, &Path))| {
        let dot = if ending.is_empty() { "" } else { "." };
        let first = first.file_name().unwrap_or_default().to_string_lossy();
        match count {
            1 => first.into_owned(),
            _ => format!("{count} {dot}{ending} files ({first}, ...)"),
        }
    };
    let found: Vec<String> = kinds.iter().map(one).collect();
    (!found.is_empty()).then(|| found.join(", "))
}

/// What is in a folder, without what is no part of the set, sorted by name.
pub(crate) fn entries(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(DataError::read(folder))? {
        let entry = entry.map_err(DataError::read(folder))?;
        if !is_clutter(&entry.file_name().to_string_lossy()) {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

/// Whether a file or folder of this name is hidden (among them are the `._` files of macOS), or was
/// put there by a system: `__MACOSX` by macOS into archives, `@eaDir` by network drives.
pub(crate) fn is_clutter(name: &str) -> bool {
    name.starts_with('.') || name == "__MACOSX" || name == "@eaDir"
}

/// Whether a file's ending is that of an image that can be read.
pub(crate) fn is_image(path: &Path) -> bool {
    is_image_ending(&ending(path))
}

/// The same of the ending itself.
pub(crate) fn is_image_ending(ending: &str) -> bool {
    ImageFormat::from_extension(ending).is_some_and(|format| format.reading_enabled())
}

fn ending(path: &Path) -> String {
    let ending = path.extension().unwrap_or_default();
    ending.to_string_lossy().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_named_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        let names = [
            "a.png", "b.TIF", "c.jfif", "d.ppm", "e.gif", "f.heic", "g.heic", "h.svg", "i.txt",
            "j", ".k.png", "._l.png",
        ];
        for name in names {
            fs::write(folder.path().join(name), "").unwrap();
        }
        for clutter in ["__MACOSX", "@eaDir"] {
            fs::create_dir(folder.path().join(clutter)).unwrap();
            fs::write(folder.path().join(clutter).join("a.png"), "").unwrap();
        }
        let listing = Listing::below(folder.path()).unwrap();
        let images: Vec<_> = listing.images.iter().map(|p| ending(p)).collect();
        assert_eq!(images, ["png", "tif", "jfif", "ppm", "gif"]);
        let described = describe(listing.left_out()).unwrap();
        assert_eq!(described, "j, 2 .heic files (f.heic, ...), h.svg, i.txt");
        assert!(describe(Listing::default().left_out()).is_none());
    }
}
