//! Images that are given in pairs with those of a set: where they are, and which belongs to which.

use crate::DataError;
use crate::folder::{self, is_image};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Where given images are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Location {
    /// The folder that holds them, for images from a folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// The column that holds them, for images from parquet files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
}

/// Images that are given, one for each image of a set.
#[derive(Clone, Copy, Debug)]
pub struct GivenImages<'a> {
    /// Where they are.
    pub location: &'a Location,
    /// What they are.
    pub kind: GivenKind,
}

/// What given images are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GivenKind {
    /// Images like those of the set.
    Images,
    /// Depth maps of 8 or 16 bits.
    DepthMaps,
}

/// The image below `root` under the same relative name as `file` below `folder`, whatever its kind.
pub(crate) fn partner(folder: &Path, file: &Path, root: &Path) -> Result<PathBuf, DataError> {
    let name = file.strip_prefix(folder).unwrap_or(file).with_extension("");
    let wanted = root.join(&name);
    let parent = wanted.parent().unwrap_or(root);
    let found = match parent.is_dir() {
        true => folder::entries(parent)?
            .into_iter()
            .find(|path| is_image(path) && path.file_stem() == wanted.file_name()),
        false => None,
    };
    found.ok_or_else(|| DataError::Missing {
        path: root.to_path_buf(),
        wanted: format!("image named `{}`", name.display()),
        hint: format!(
            "{} needs a control image of the same name; add it or remove the image",
            file.display()
        ),
    })
}
