//! What was computed of real pictures before.

use crate::output::cache_folder;
use fewstep_formats::write_atomically;
use fewstep_metrics::{FeatureId, FeatureNetwork, Features, Reference, Statistics};
use std::path::PathBuf;

/// Statistics and features of datasets, in the user's cache folder. A cache that cannot be written is only a
/// slower one.
pub(super) struct Cache {
    folder: Option<PathBuf>,
}

/// What is kept of one dataset as one network sees it.
pub(super) struct Entry {
    /// The start of its files' names.
    stem: Option<PathBuf>,
}

impl Cache {
    /// The user's; nothing when switched off.
    pub(super) fn new(on: bool) -> Self {
        Self {
            folder: cache_folder().filter(|_| on),
        }
    }

    pub(super) fn entry(&self, fingerprint: &str, network: &FeatureId) -> Entry {
        let network = network.hash.get(..16).unwrap_or(&network.hash);
        let name = format!("real-{fingerprint}-{network}");
        Entry {
            stem: self.folder.as_ref().map(|folder| folder.join(name)),
        }
    }
}

impl Entry {
    /// Statistics of the whole dataset, if they were made with this network.
    pub(super) fn statistics(&self, network: &dyn FeatureNetwork) -> Option<Statistics> {
        let reference = Reference::load(&self.file("statistics.safetensors")?).ok()?;
        reference.check(network).ok()?;
        Some(reference.statistics)
    }

    pub(super) fn keep_statistics(
        &self,
        statistics: &Statistics,
        network: &FeatureId,
        source: &str,
    ) {
        let reference = Reference {
            statistics: statistics.clone(),
            network: network.clone(),
            source: source.into(),
        };
        if let Ok(bytes) = reference.to_bytes() {
            self.keep("statistics.safetensors", &bytes);
        }
    }

    /// Features of `count` pictures of the dataset, spread evenly.
    pub(super) fn features(&self, count: usize, dim: usize) -> Option<Features> {
        let bytes = std::fs::read(self.file(&features_file(count))?).ok()?;
        let values = bytes
            .as_chunks::<4>()
            .0
            .iter()
            .map(|word| f32::from_le_bytes(*word));
        let features = Features::new(dim, values.collect()).ok()?;
        (features.count() == count).then_some(features)
    }

    pub(super) fn keep_features(&self, features: &Features) {
        let bytes: Vec<u8> = features
            .values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        self.keep(&features_file(features.count()), &bytes);
    }

    fn file(&self, name: &str) -> Option<PathBuf> {
        let mut file = self.stem.clone()?.into_os_string();
        file.push(format!("-{name}"));
        Some(file.into())
    }

    fn keep(&self, name: &str, bytes: &[u8]) {
        if let Some(Err(error)) = self.file(name).map(|file| write_atomically(&file, bytes)) {
            tracing::warn!("statistics of real pictures are not kept: {error}");
        }
    }
}

fn features_file(count: usize) -> String {
    format!("{count}.f32")
}
