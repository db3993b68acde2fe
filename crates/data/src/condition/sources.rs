//! What the conditions of a captioned set are made from, on disk: its images, or the images given with them.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::cache::{About, CacheFile, CacheWriter, Part, U8};
use crate::captioned::{Captioned, Check};
use crate::{DataError, ImageShape};

/// The images, brought to one size.
#[derive(Debug)]
pub(super) struct Sources {
    file: CacheFile,
    about: AboutSources,
}

#[derive(Debug, Serialize, Deserialize)]
struct AboutSources {
    key: String,
    images: usize,
    channels: usize,
    height: usize,
    width: usize,
}

impl About for AboutSources {
    const KIND: &'static str = "fewstep-images";

    fn key(&self) -> &str {
        &self.key
    }

    fn parts(&self) -> Vec<Part> {
        vec![Part {
            name: "images",
            dtype: U8,
            shape: vec![self.images, self.channels, self.height, self.width],
        }]
    }
}

impl Sources {
    /// The images that conditions of this set are made from, out of a cache in `folder`; where it has none, they are
    /// decoded and stored there. The file's name follows from their contents.
    pub(super) fn of(captioned: &Captioned, folder: &Path) -> Result<Self, DataError> {
        let contents = captioned.check(Check::Present)?;
        let key = contents.sources;
        let path = folder.join(format!("images-{key}.safetensors"));
        if let Some((file, about)) = CacheFile::open(&path, &key)? {
            return Ok(Self { file, about });
        }
        captioned.check(Check::Decoded)?;
        let ImageShape {
            channels,
            height,
            width,
        } = captioned.source_shape();
        let about = AboutSources {
            key: key.clone(),
            images: contents.captions.len(),
            channels,
            height,
            width,
        };
        let mut writer = CacheWriter::create(&path, about)?;
        for images in captioned.sources() {
            for image in images? {
                writer.write(&image.pixels)?;
            }
        }
        writer.finish()?;
        match CacheFile::open(&path, &key)? {
            Some((file, about)) => Ok(Self { file, about }),
            None => Err(DataError::Cache {
                path,
                reason: "it is gone".into(),
            }),
        }
    }

    /// One of them, [channels, height, width].
    pub(super) fn pixels(&self, index: usize) -> Result<Vec<u8>, DataError> {
        let AboutSources {
            channels,
            height,
            width,
            ..
        } = self.about;
        self.file.read(0, index, channels * height * width)
    }
}
