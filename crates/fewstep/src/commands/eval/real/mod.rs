//! The real images that others are measured against.

mod cache;

use crate::arguments::named;
use crate::commands::shared::measure::{features_of_pixels, metrics_error};
use crate::error::{CliError, CliResult, IntoCliResult};
use crate::{builtin, progress};
use cache::{Cache, Entry};
use fewstep_data::{
    Captioned, Check, DataConfig, DataKind, Dataset, FASHION_MNIST_CLASSES, ImageShape, Split,
};
use fewstep_metrics::{FeatureNetwork, Features, Reference, Statistics, StatisticsBuilder};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Images that are looked at together.
const CHUNK: usize = 512;
/// Images after which what was seen is kept: minutes of work for a large network.
const BETWEEN_SAVES: usize = 8 * CHUNK;
const LOOKING: &str = "looking at real images";

const KINDS: [(&str, DataKind); 7] = [
    ("fashion-mnist", DataKind::FashionMnist),
    ("mnist", DataKind::Mnist),
    ("idx", DataKind::Idx),
    ("cifar10", DataKind::Cifar10),
    ("folder", DataKind::Folder),
    ("parquet", DataKind::Parquet),
    ("captioned", DataKind::Captioned),
];

const SPLITS: [(&str, Split); 2] = [("train", Split::Train), ("test", Split::Test)];

/// What to measure against.
#[derive(clap::Args)]
pub(super) struct RealArgs {
    /// Real images: a folder of images, or KIND:PATH with fashion-mnist, mnist, idx, cifar10, folder, parquet or
    /// captioned.
    #[arg(long, value_name = "DATA")]
    data: Option<String>,
    /// Which part of the data [default: train; test for models that draw from control images].
    #[arg(long, value_parser = named(&SPLITS))]
    split: Option<Split>,
    /// Side in pixels to which images in files are resized; by default that of the model, or their own.
    #[arg(long)]
    size: Option<usize>,
    /// Stored statistics of real images, in place of the images: a safetensors file.
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    reference: Option<PathBuf>,
    /// Compute the statistics of the data anew, and do not keep them in ~/.cache/fewstep.
    #[arg(long)]
    no_cache: bool,
}

/// Real images with what a model draws from.
pub(super) struct Known {
    pub(super) images: Dataset,
    /// The caption of each, where they have such.
    pub(super) texts: Vec<String>,
    /// How they were read.
    pub(super) config: DataConfig,
}

/// Real images as the metrics see them.
pub(super) struct Real {
    pub(super) statistics: Statistics,
    /// Features of some of the images, spread evenly; none when only statistics are at hand.
    pub(super) features: Option<Features>,
    /// What they are.
    pub(super) source: String,
    /// How many there are of each class, where that is known.
    pub(super) class_counts: Option<Vec<u64>>,
}

impl RealArgs {
    /// What the images of a model are measured against, with the features of `keep` real images.
    pub(super) fn for_model(
        &self,
        shape: ImageShape,
        classes: &[String],
        network: &dyn FeatureNetwork,
        keep: usize,
    ) -> CliResult<Real> {
        if self.data.is_none() && self.reference.is_none() {
            let reference = builtin::fashion_mnist_reference()?;
            if classes == FASHION_MNIST_CLASSES && reference.check(network).is_ok() {
                return Real::from_reference(reference, network);
            }
        }
        let side = (shape.height == shape.width).then_some(shape.height);
        self.load((shape.channels, self.size.or(side)), network, keep)
    }

    /// The images that a model is to draw from what is known of them (control images, captions), and what the drawn
    /// ones are measured against: these images, all of them. `what` says what is known.
    pub(super) fn for_drawing(
        &self,
        (shape, what): (ImageShape, &str),
        split: Split,
        network: &dyn FeatureNetwork,
        keep: usize,
    ) -> CliResult<(Known, Real)> {
        let Some(spec) = &self.data else {
            return Err(CliError::input(format!(
                "this model draws from {what}, which come with real images: give them with --data KIND:PATH"
            )));
        };
        let side = (shape.height == shape.width).then_some(shape.height);
        let config = DataConfig {
            split: self.split.unwrap_or(split),
            ..data_config(spec, shape.channels, self.size.or(side))?
        };
        let (images, texts) = match config.kind {
            DataKind::Captioned => {
                let captioned = Captioned::open(&config).input_error()?;
                let contents = captioned.check(Check::Present).input_error()?;
                (captioned.dataset().input_error()?, contents.captions)
            }
            _ => (builtin::load_data(&config)?, vec![]),
        };
        let cache = Cache::new(!self.no_cache);
        let real = Real::from_dataset(&images, network, keep, &cache)?;
        let known = Known {
            images,
            texts,
            config,
        };
        Ok((known, real))
    }

    /// Reads a folder of images, and what they are measured against: both with these channels and this side,
    /// unless the user gives another.
    pub(super) fn for_folder(
        &self,
        folder: &Path,
        (channels, side): (usize, Option<usize>),
        network: &dyn FeatureNetwork,
    ) -> CliResult<(Dataset, Real)> {
        let side = self.size.or(side);
        let spec = format!("folder:{}", folder.display());
        let images = fewstep_data::load(&data_config(&spec, channels, side)?).input_error()?;
        let real = self.load((channels, side), network, images.len())?;
        Ok((images, real))
    }

    fn load(
        &self,
        (channels, side): (usize, Option<usize>),
        network: &dyn FeatureNetwork,
        keep: usize,
    ) -> CliResult<Real> {
        match (&self.data, &self.reference) {
            (Some(spec), _) => {
                let dataset = builtin::load_data(&DataConfig {
                    split: self.split.unwrap_or(Split::Train),
                    ..data_config(spec, channels, side)?
                })?;
                let cache = Cache::new(!self.no_cache);
                Real::from_dataset(&dataset, network, keep, &cache)
            }
            (None, Some(file)) => {
                Real::from_reference(Reference::load(file).input_error()?, network)
            }
            (None, None) => Err(CliError::input(
                "there is nothing to measure against: give --data FOLDER, --data KIND:PATH or --reference FILE",
            )),
        }
    }
}

/// `keep` of `len` images, spread evenly.
struct Spread {
    keep: usize,
    len: usize,
}

impl Spread {
    /// The number of the `k`-th of them; `len` or more when there are no more.
    fn index(&self, k: usize) -> usize {
        k * self.len / self.keep
    }
}

impl Real {
    fn from_reference(reference: Reference, network: &dyn FeatureNetwork) -> CliResult<Self> {
        reference.check(network).input_error()?;
        Ok(Self {
            statistics: reference.statistics,
            features: None,
            source: reference.source,
            class_counts: None,
        })
    }

    fn from_dataset(
        dataset: &Dataset,
        network: &dyn FeatureNetwork,
        keep: usize,
        cache: &Cache,
    ) -> CliResult<Self> {
        let source = format!("{} {}", dataset.name, dataset.fingerprint());
        let some = Spread {
            keep: keep.min(dataset.len()),
            len: dataset.len(),
        };
        let entry = cache.entry(&dataset.fingerprint(), network.id(), &source);
        let known = entry.statistics(network);
        let (statistics, features) = match (known, entry.features(some.keep, network.dim())) {
            (Some(statistics), Some(features)) => (statistics, features),
            (known, _) => {
                let (statistics, features) = match known {
                    Some(statistics) => {
                        let images = dataset.select((0..some.keep).map(|k| some.index(k)));
                        (statistics, features_of(&images, network, LOOKING)?)
                    }
                    None => look_at_all(dataset, network, &some, &entry)?,
                };
                entry.keep(&statistics, &features, network.id());
                (statistics, features)
            }
        };
        Ok(Self {
            statistics,
            features: Some(features),
            source,
            class_counts: class_counts(dataset),
        })
    }
}

/// What the network sees in all images of a set.
pub(super) fn features_of(
    dataset: &Dataset,
    network: &dyn FeatureNetwork,
    title: &str,
) -> CliResult<Features> {
    let mut all = Features::empty(network.dim());
    look_at(dataset, 0..dataset.len(), network, title, |part| {
        all.append(part).map_err(metrics_error)
    })?;
    Ok(all)
}

/// Statistics of all images, and the features of some. Goes on where an earlier call was stopped.
fn look_at_all(
    dataset: &Dataset,
    network: &dyn FeatureNetwork,
    some: &Spread,
    entry: &Entry,
) -> CliResult<(Statistics, Features)> {
    let (mut all, mut kept) = match entry.progress(network, some) {
        Some((statistics, features)) => (StatisticsBuilder::resume(statistics), features),
        None => (
            StatisticsBuilder::new(network.dim()),
            Features::empty(network.dim()),
        ),
    };
    let rest = all.count()..dataset.len();
    look_at(dataset, rest, network, LOOKING, |part| {
        while (all.count()..all.count() + part.count()).contains(&some.index(kept.count())) {
            let row = part.rows().nth(some.index(kept.count()) - all.count());
            let row = Features::new(network.dim(), row.unwrap_or_default().to_vec());
            kept.append(row.map_err(metrics_error)?)
                .map_err(metrics_error)?;
        }
        all.push(&part).map_err(metrics_error)?;
        if all.count().is_multiple_of(BETWEEN_SAVES) {
            let so_far = all.clone().finish().map_err(metrics_error)?;
            entry.keep_progress(&so_far, &kept, network.id(), some);
        }
        Ok(())
    })?;
    Ok((all.finish().map_err(metrics_error)?, kept))
}

/// Gives the features of the images of a range in their order, a part at a time.
fn look_at(
    dataset: &Dataset,
    range: Range<usize>,
    network: &dyn FeatureNetwork,
    title: &str,
    mut take: impl FnMut(Features) -> CliResult,
) -> CliResult {
    let bar = progress::bar(title, range.len() as u64, "images");
    for first in range.clone().step_by(CHUNK) {
        let part = first..(first + CHUNK).min(range.end);
        let pixels: Vec<u8> = part
            .clone()
            .flat_map(|i| dataset.pixels(i))
            .copied()
            .collect();
        take(features_of_pixels(&pixels, dataset.shape, network)?)?;
        bar.inc(part.len() as u64);
    }
    bar.finish_and_clear();
    Ok(())
}

/// Reads KIND:PATH, or a folder.
fn data_config(spec: &str, channels: usize, size: Option<usize>) -> CliResult<DataConfig> {
    let known = |name: &str| KINDS.iter().find(|(known, _)| *known == name);
    let (kind, path) = match spec.split_once(':') {
        Some(("builtin", _)) => (DataKind::Idx, spec),
        Some((name, path)) => match known(name) {
            Some((_, kind)) => (*kind, path),
            None if Path::new(spec).exists() => (DataKind::Folder, spec),
            None => {
                let names = KINDS.map(|(name, _)| name).join(", ");
                return Err(CliError::input(format!(
                    "--data {spec}: `{name}` is no kind of dataset; there are {names}"
                )));
            }
        },
        None => (DataKind::Folder, spec),
    };
    Ok(DataConfig {
        kind,
        path: path.into(),
        split: Split::default(),
        size,
        channels: Some(channels),
        limit: None,
        column: None,
        class_names: None,
    })
}

fn class_counts(dataset: &Dataset) -> Option<Vec<u64>> {
    let mut counts = vec![0; dataset.classes.len()];
    for &label in dataset.labels()? {
        counts[label as usize] += 1;
    }
    Some(counts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fewstep_metrics::Images;
    use fewstep_metrics::{FeatureId, FeatureKind, MetricsError};
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Sees the pixels themselves, of so many images.
    struct Eyes {
        id: FeatureId,
        left: AtomicUsize,
    }

    impl Eyes {
        fn that_see(images: usize) -> Self {
            let id = FeatureId {
                name: "eyes".into(),
                hash: "0123".into(),
                kind: FeatureKind::Classifier,
            };
            Self {
                id,
                left: images.into(),
            }
        }
    }

    impl FeatureNetwork for Eyes {
        fn id(&self) -> &FeatureId {
            &self.id
        }

        fn dim(&self) -> usize {
            2
        }

        fn features(&self, images: &Images) -> fewstep_metrics::Result<Features> {
            let left = self.left.load(Ordering::Relaxed);
            let left = left.checked_sub(images.len());
            self.left.store(
                left.ok_or(MetricsError::NotFinite { metric: "sight" })?,
                Ordering::Relaxed,
            );
            let values = images.pixels.iter().map(|&p| f32::from(p)).collect();
            Features::new(2, values)
        }
    }

    #[test]
    fn a_look_that_was_stopped_goes_on() {
        let images = 9_000;
        let shape = ImageShape {
            channels: 1,
            height: 1,
            width: 2,
        };
        let pixels = (0..2 * images).map(|i| (i * i % 251) as u8).collect();
        let dataset =
            Dataset::from_parts("numbers", shape, pixels, None, vec![]).expect("a dataset");
        let folder = tempfile::tempdir().expect("a folder");
        let look = |eyes: &Eyes, folder: Option<&Path>| {
            let cache = Cache {
                folder: folder.map(Path::to_path_buf),
            };
            Real::from_dataset(&dataset, eyes, 700, &cache)
        };
        let expected = look(&Eyes::that_see(images), None).unwrap_or_else(|_| panic!());
        let stopped = look(&Eyes::that_see(5_000), Some(folder.path()));
        assert!(stopped.is_err());
        let rest = Eyes::that_see(images - BETWEEN_SAVES);
        let got = look(&rest, Some(folder.path())).unwrap_or_else(|_| panic!());
        assert_eq!(rest.left.into_inner(), 0);
        assert_eq!(got.features, expected.features);
        assert_eq!(got.statistics.mean, expected.statistics.mean);
        for (got, expected) in got
            .statistics
            .covariance
            .iter()
            .zip(expected.statistics.covariance)
        {
            assert!(
                (got / expected - 1.0).abs() < 1e-12,
                "{got}, not {expected}"
            );
        }
        // Nothing unfinished is left, and nothing is looked at again.
        assert_eq!(
            std::fs::read_dir(folder.path())
                .expect("the folder")
                .count(),
            2
        );
        assert!(look(&Eyes::that_see(0), Some(folder.path())).is_ok());
    }
}
