//! What the control images of a captioned set are made from, on disk: its images, or the images
//! given with them.

use crate::cache::{CacheFile, CacheHeader, CacheWriter, TensorSpec, U8};
use crate::captioned::{Captioned, Check};
use crate::collector::CHUNK;
use crate::{DataError, ImageShape};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The images, brought to one size.
#[derive(Debug)]
pub(super) struct Sources {
    file: CacheFile,
    header: SourcesHeader,
}

#[derive(Debug, Serialize, Deserialize)]
struct SourcesHeader {
    key: String,
    images: usize,
    channels: usize,
    height: usize,
    width: usize,
}

impl CacheHeader for SourcesHeader {
    const KIND: &'static str = "fewstep-images";

    fn key(&self) -> &str {
        &self.key
    }

    fn tensors(&self) -> Vec<TensorSpec> {
        vec![TensorSpec {
            name: "images",
            dtype: U8,
            shape: vec![self.images, self.channels, self.height, self.width],
        }]
    }
}

impl Sources {
    /// The images that control images of this set are made from, read from a cache in `folder`; if
    /// it has none, they are decoded and stored there. The file's name follows from their contents.
    pub(super) fn of(captioned: &Captioned, folder: &Path) -> Result<Self, DataError> {
        let contents = captioned.check(Check::Present)?;
        let key = contents.sources;
        let path = folder.join(format!("images-{key}.safetensors"));
        if let Some((file, header)) = CacheFile::open(&path, &key)? {
            return Ok(Self { file, header });
        }
        captioned.check(Check::Decoded)?;
        let ImageShape {
            channels,
            height,
            width,
        } = captioned.source_shape();
        let header = SourcesHeader {
            key: key.clone(),
            images: contents.captions.len(),
            channels,
            height,
            width,
        };
        let mut writer = CacheWriter::create(&path, header)?;
        for images in captioned.sources(CHUNK) {
            for image in images? {
                writer.write(&image.pixels)?;
            }
        }
        writer.finish()?;
        match CacheFile::open(&path, &key)? {
            Some((file, header)) => Ok(Self { file, header }),
            None => Err(DataError::Cache {
                path,
                reason: "it is gone".into(),
            }),
        }
    }

    /// Digest of their contents.
    pub(super) fn key(&self) -> &str {
        &self.header.key
    }

    /// One of them, [channels, height, width].
    pub(super) fn pixels(&self, index: usize) -> Result<Vec<u8>, DataError> {
        let SourcesHeader {
            channels,
            height,
            width,
            ..
        } = self.header;
        self.file.read(0, index, channels * height * width)
    }
}
