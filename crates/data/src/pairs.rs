//! Images that are given in pairs with those of a set: where they are, and which belongs to which.

use crate::DataError;
use crate::image::{Fit, dimensions};
use crate::listing::{entries, is_image};
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
    let mut found = match parent.is_dir() {
        true => entries(parent)?,
        false => vec![],
    };
    found.retain(|path| is_image(path) && path.file_stem() == wanted.file_name());
    match (found.len(), found.into_iter().next()) {
        (1, Some(one)) => Ok(one),
        (0, _) | (_, None) => Err(DataError::Missing {
            path: root.to_path_buf(),
            wanted: format!("image named `{}`", name.display()),
            hint: format!(
                "{} needs a control image of the same name; add it or remove the image",
                file.display()
            ),
        }),
        (count, Some(first)) => Err(DataError::Example {
            origin: file.display().to_string(),
            reason: format!(
                "{count} images named `{}` in {}, such as {}, and it is unclear which is given with it: keep one of them",
                name.display(),
                root.display(),
                first.file_name().unwrap_or_default().to_string_lossy()
            ),
        }),
    }
}

/// Refuses a pair of files (bytes, and what to call them) that would show different parts as
/// squares. Stretched images always show all.
pub(crate) fn check_aspect(
    fit: Fit,
    image: (&[u8], &str),
    given: (&[u8], &str),
) -> Result<(), DataError> {
    if fit == Fit::Stretch {
        return Ok(());
    }
    let size = |(bytes, origin): (&[u8], &str)| dimensions(bytes, origin);
    check_sizes((size(image)?, image.1), (size(given)?, given.1))
}

/// The same of width and height.
pub(crate) fn check_sizes(
    (image, origin): ([u32; 2], &str),
    (given, partner): ([u32; 2], &str),
) -> Result<(), DataError> {
    let [[a, b], [c, d]] = [image, given].map(|size| size.map(u64::from));
    // Sides are whole numbers: the same part in another size may be a pixel off.
    match (a * d).abs_diff(b * c) <= a.max(b).max(c).max(d) {
        true => Ok(()),
        false => Err(DataError::Aspect {
            origin: origin.into(),
            partner: partner.into(),
            image,
            given,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_one_aspect_ratio_go_together() {
        let fits = |image, given| check_sizes((image, "a"), (given, "b")).is_ok();
        for (image, given) in [
            ([640, 480], [640, 480]),
            ([640, 480], [320, 240]),
            ([641, 480], [320, 240]),
            ([1920, 1080], [256, 144]),
            ([1000, 667], [100, 67]),
        ] {
            assert!(
                fits(image, given) && fits(given, image),
                "{image:?} {given:?}"
            );
        }
        for (image, given) in [
            ([640, 480], [480, 640]),
            ([640, 480], [640, 360]),
            ([16, 16], [24, 16]),
            ([4, 4], [6, 4]),
        ] {
            assert!(
                !fits(image, given) && !fits(given, image),
                "{image:?} {given:?}"
            );
        }
    }
}
