//! Writes a cache of latents.

use super::header::{LatentsHeader, StoredHeader};
use crate::DataError;
use crate::cache::CacheWriter;
use std::path::Path;

/// Writes a cache: all latents in the order of the examples, then what is concatenated to them,
/// then all states.
#[derive(Debug)]
pub struct LatentsWriter(CacheWriter<StoredHeader>);

impl LatentsWriter {
    /// Starts a cache at `path`; it has another name until it is finished. Unfinished caches that a
    /// killed program left in the same folder are removed.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn create(path: &Path, header: LatentsHeader) -> Result<Self, DataError> {
        let numbers: Vec<u8> = header
            .captions
            .iter()
            .flat_map(|&text| i64::from(text).to_le_bytes())
            .collect();
        let described = StoredHeader {
            examples: header.captions.len(),
            texts: header.texts(),
            header,
        };
        let mut writer = CacheWriter::create(path, described)?;
        writer.write(&numbers)?;
        Ok(Self(writer))
    }

    /// The latents of the next examples (each followed by the latent of its mirrored image, if the
    /// cache has those); after all latents what is concatenated to the next ones, mask by mask
    /// where there are masks; then the states of the next texts.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&mut self, values: &[f32]) -> Result<(), DataError> {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes());
        self.0.write(&bytes.collect::<Vec<u8>>())
    }

    /// Gives the finished cache its name.
    ///
    /// # Errors
    /// When it cannot be written, or when it has more or less data than the header says.
    pub fn finish(self) -> Result<(), DataError> {
        self.0.finish()
    }
}
