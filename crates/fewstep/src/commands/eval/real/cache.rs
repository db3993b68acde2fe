//! The cache of statistics and features of real images.

use crate::output::cache_folder;
use fewstep_formats::write_atomically;
use fewstep_metrics::{FeatureId, FeatureNetwork, Features, Reference, Statistics};
use std::path::PathBuf;

const STATISTICS: &str = "statistics.safetensors";

/// Statistics and features of datasets, in the user's cache folder. If it cannot be written, only
/// time is lost.
pub(super) struct Cache {
    pub(super) folder: Option<PathBuf>,
}

/// What is kept of one dataset for one network.
pub(super) struct Entry {
    /// The start of its files' names.
    stem: Option<PathBuf>,
    /// A description of the dataset, for readers of the files.
    source: String,
}

impl Cache {
    /// The user's cache, or none.
    pub(super) fn new(on: bool) -> Self {
        Self {
            folder: cache_folder().filter(|_| on),
        }
    }

    pub(super) fn entry(&self, fingerprint: &str, network: &FeatureId, source: &str) -> Entry {
        let network = network.hash.get(..16).unwrap_or(&network.hash);
        let name = format!("real-{fingerprint}-{network}");
        Entry {
            stem: self.folder.as_ref().map(|folder| folder.join(name)),
            source: source.into(),
        }
    }
}

impl Entry {
    /// Statistics of the whole dataset, if they are of this network.
    pub(super) fn statistics(&self, network: &dyn FeatureNetwork) -> Option<Statistics> {
        self.read_statistics(STATISTICS, network)
    }

    /// Features of `count` images of the dataset, spread evenly.
    pub(super) fn features(&self, count: usize, dim: usize) -> Option<Features> {
        let features = self.read_features(&features_file(count), dim)?;
        (features.count() == count).then_some(features)
    }

    /// Keeps statistics of the whole dataset and features of some of it, and deletes saved
    /// progress.
    pub(super) fn keep(&self, statistics: &Statistics, features: &Features, network: &FeatureId) {
        self.write_statistics(STATISTICS, statistics, network);
        self.write_features(&features_file(features.count()), features);
        for name in unfinished(features.count()) {
            if let Some(file) = self.file(&name) {
                let _ = std::fs::remove_file(file);
            }
        }
    }

    /// Saved progress: statistics of the first images, and those of their features that are kept.
    pub(super) fn progress(
        &self,
        network: &dyn FeatureNetwork,
        some: &Spread,
    ) -> Option<(Statistics, Features)> {
        let [statistics, features] = unfinished(some.keep);
        let statistics = self.read_statistics(&statistics, network)?;
        let features = self.read_features(&features, network.dim())?;
        let is_done = |k| some.index(k) < statistics.count;
        let together =
            features.count().checked_sub(1).is_some_and(is_done) && !is_done(features.count());
        together.then_some((statistics, features))
    }

    pub(super) fn keep_progress(
        &self,
        statistics: &Statistics,
        features: &Features,
        network: &FeatureId,
        some: &Spread,
    ) {
        let names = unfinished(some.keep);
        self.write_statistics(&names[0], statistics, network);
        self.write_features(&names[1], features);
    }

    fn read_statistics(&self, name: &str, network: &dyn FeatureNetwork) -> Option<Statistics> {
        let reference = Reference::load(&self.file(name)?).ok()?;
        reference.check(network).ok()?;
        Some(reference.statistics)
    }

    fn write_statistics(&self, name: &str, statistics: &Statistics, network: &FeatureId) {
        let reference = Reference {
            statistics: statistics.clone(),
            network: network.clone(),
            source: self.source.clone(),
        };
        if let Ok(bytes) = reference.to_bytes() {
            self.write(name, &bytes);
        }
    }

    fn read_features(&self, name: &str, dim: usize) -> Option<Features> {
        let bytes = std::fs::read(self.file(name)?).ok()?;
        let words = bytes.as_chunks::<4>().0.iter();
        let values = words.map(|word| f32::from_le_bytes(*word));
        Features::new(dim, values.collect()).ok()
    }

    fn write_features(&self, name: &str, features: &Features) {
        let values = features.values.iter();
        let bytes: Vec<u8> = values.flat_map(|value| value.to_le_bytes()).collect();
        self.write(name, &bytes);
    }

    fn file(&self, name: &str) -> Option<PathBuf> {
        let mut file = self.stem.clone()?.into_os_string();
        file.push(format!("-{name}"));
        Some(file.into())
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        if let Some(Err(error)) = self.file(name).map(|file| write_atomically(&file, bytes)) {
            tracing::warn!("statistics of real images are not kept: {error}");
        }
    }
}

fn features_file(count: usize) -> String {
    format!("{count}.f32")
}

/// The files of saved progress: statistics and features.
fn unfinished(keep: usize) -> [String; 2] {
    ["safetensors", "f32"].map(|end| format!("{keep}-unfinished.{end}"))
}

/// `keep` of `len` images, spread evenly.
pub(super) struct Spread {
    pub(super) keep: usize,
    pub(super) len: usize,
}

impl Spread {
    /// The number of the `k`-th of them; `len` or more if there are no more.
    pub(super) fn index(&self, k: usize) -> usize {
        k * self.len / self.keep
    }
}
