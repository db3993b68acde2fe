//! A folder of image files, with classes or without.

use super::report::{Checked, Survey, Surveyor};
use crate::collector::{CHUNK, DEFAULT_CHANNELS};
use crate::config::{check, expand_home};
use crate::folder::{Item, scan};
use crate::image::{Content, Decoding};
use crate::input::{MAX_IMAGE_FILE, read_bytes};
use crate::pairs::{GivenImages, GivenKind, check_aspect, partner};
use crate::skip::{Skip, name_of};
use crate::splits::split_folder;
use crate::{DataConfig, DataError};
use rayon::prelude::*;
use std::path::{Path, PathBuf};

/// Images with what is given in pairs with them.
struct Pairs<'a> {
    config: &'a DataConfig,
    folder: &'a Path,
    decoding: Decoding,
    given: Option<(PathBuf, Decoding)>,
}

pub(super) fn survey(
    config: &DataConfig,
    given: Option<GivenImages<'_>>,
) -> Result<Survey, DataError> {
    let path = expand_home(&config.path);
    check(config, &path.display().to_string())?;
    let folder = split_folder(&path, config.split)?;
    let found = scan(&folder, config, &Skip::of(config)?)?;
    let content = Content::Images(config.channels.unwrap_or(DEFAULT_CHANNELS));
    let given = given.and_then(|given| {
        let content = match given.kind {
            GivenKind::Images => content,
            GivenKind::DepthMaps => Content::DepthMaps,
        };
        let root = expand_home(given.location.path.as_deref()?);
        Some((root, config.decoding(content)))
    });
    let pairs = Pairs {
        config,
        folder: &folder,
        decoding: config.decoding(content),
        given,
    };
    let mut surveyor = Surveyor::new(config);
    for class in &found.empty {
        surveyor.problem(
            name_of(class, config),
            format!("{}: a class without images", class.display()),
        );
    }
    for chunk in found.items.chunks(CHUNK) {
        let checked: Vec<_> = chunk.par_iter().map(|item| pairs.checked(item)).collect();
        for (item, checked) in chunk.iter().zip(checked) {
            let class = item.label.map(|label| &*found.classes[label as usize]);
            surveyor.take(name_of(&item.path, config), class, checked);
        }
    }
    surveyor.finish(&folder.display().to_string())
}

impl Pairs<'_> {
    /// The file of an image, if it and its partner can be used.
    fn checked(&self, item: &Item) -> Checked {
        let origin = item.path.display().to_string();
        let bytes = read_bytes(&item.path, MAX_IMAGE_FILE)?;
        let shape = self.decoding.image(&bytes, &origin)?.shape;
        if let Some((root, decoding)) = &self.given {
            let path = partner(self.folder, &item.path, root)?;
            let given: Checked = read_bytes(&path, MAX_IMAGE_FILE);
            let (given, name) = (given?, path.display().to_string());
            check_aspect(self.config.fit, (&bytes, &origin), (&given, &name))?;
            let given = decoding.image(&given, &name)?.shape;
            if !given.same_size(shape) {
                return Err(DataError::Shape {
                    origin: name,
                    expected: shape,
                    got: given,
                });
            }
        }
        Ok(bytes)
    }
}
