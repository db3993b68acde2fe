//! Where latents are kept, by what they are made from.

use super::{Copies, ExtraCopies, LatentsError};
use fewstep_data::{DataError, Latents};
use fewstep_formats::PipelineComponents;
use std::path::{Path, PathBuf};

/// The file with some latents.
#[derive(Clone, Debug)]
pub struct LatentsFile {
    pub(super) key: String,
    pub(super) path: PathBuf,
}

impl LatentsFile {
    /// That of latents of these contents, those of source images included, made by these networks, in
    /// `folder`. The name of the file says all that it depends on.
    ///
    /// # Errors
    /// When the networks cannot be read.
    pub fn of(
        contents: &str,
        components: &PipelineComponents,
        copies: Copies,
        folder: &Path,
    ) -> Result<Self, LatentsError> {
        let networks = components.digest()?;
        let Copies { mirrored, extra } = copies;
        let extra = match extra {
            None => String::new(),
            Some(ExtraCopies::Masked(masks)) => format!("-{:?}{}", masks.kind, masks.each),
            Some(ExtraCopies::Source) => "-source".into(),
        };
        let key = format!("{contents}-{networks}-{}{extra}", u8::from(mirrored));
        let path = folder.join(format!("latents-{key}.safetensors"));
        Ok(Self { key, path })
    }

    /// The digest of all that it depends on.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens it; none if it is not there.
    ///
    /// # Errors
    /// As [`Latents::open`].
    pub fn open(&self) -> Result<Option<Latents>, DataError> {
        Latents::open(&self.path, &self.key)
    }
}
