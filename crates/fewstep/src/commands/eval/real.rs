//! The real pictures that others are measured against.

mod cache;

use super::figures::blame;
use crate::arguments::named;
use crate::failure::{Blame, Failure, Outcome};
use crate::{builtin, progress};
use cache::Cache;
use fewstep_data::{DataConfig, DataKind, Dataset, FASHION_MNIST_CLASSES, ImageShape, Split};
use fewstep_metrics::{
    FeatureNetwork, Features, Pictures, Reference, Statistics, StatisticsBuilder,
};
use std::path::{Path, PathBuf};

/// Pictures that are looked at together.
const CHUNK: usize = 512;

const KINDS: [(&str, DataKind); 6] = [
    ("fashion-mnist", DataKind::FashionMnist),
    ("mnist", DataKind::Mnist),
    ("idx", DataKind::Idx),
    ("cifar10", DataKind::Cifar10),
    ("folder", DataKind::Folder),
    ("parquet", DataKind::Parquet),
];

const SPLITS: [(&str, Split); 2] = [("train", Split::Train), ("test", Split::Test)];

/// What to measure against.
#[derive(clap::Args)]
pub(super) struct RealArgs {
    /// Real pictures: a folder of images, or KIND:PATH with fashion-mnist, mnist, idx, cifar10, folder or parquet.
    #[arg(long, value_name = "DATA")]
    data: Option<String>,
    /// Which part of the data [default: train; test for models that draw from condition images].
    #[arg(long, value_parser = named(&SPLITS))]
    split: Option<Split>,
    /// Side in pixels to which pictures in files are resized; by default that of the model, or their own.
    #[arg(long)]
    size: Option<usize>,
    /// Stored statistics of real pictures, in place of the pictures: a safetensors file.
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    reference: Option<PathBuf>,
    /// Compute the statistics of the data anew, and do not keep them in ~/.cache/fewstep.
    #[arg(long)]
    no_cache: bool,
}

/// Real pictures as the metrics see them.
pub(super) struct Real {
    pub(super) statistics: Statistics,
    /// Features of some of the pictures, spread evenly; none when only statistics are at hand.
    pub(super) features: Option<Features>,
    /// What they are.
    pub(super) source: String,
    /// How many there are of each class, where that is known.
    pub(super) class_counts: Option<Vec<u64>>,
}

impl RealArgs {
    /// What the pictures of a model are measured against, with the features of `keep` real pictures.
    pub(super) fn for_model(
        &self,
        shape: ImageShape,
        classes: &[String],
        network: &dyn FeatureNetwork,
        keep: usize,
    ) -> Outcome<Real> {
        if self.data.is_none() && self.reference.is_none() {
            let reference = builtin::fashion_mnist_reference()?;
            if classes == FASHION_MNIST_CLASSES && reference.check(network).is_ok() {
                return Real::from_reference(reference, network);
            }
        }
        let side = (shape.height == shape.width).then_some(shape.height);
        self.load((shape.channels, self.size.or(side)), network, keep)
    }

    /// The pictures that a conditional model is to restore, how they were read, and what the restored ones are
    /// measured against: these pictures, all of them.
    pub(super) fn for_pairs(
        &self,
        shape: ImageShape,
        network: &dyn FeatureNetwork,
        keep: usize,
    ) -> Outcome<(Dataset, DataConfig, Real)> {
        let Some(spec) = &self.data else {
            return Err(Failure::input(
                "this model draws from condition images, which are made of real pictures: give them with --data KIND:PATH",
            ));
        };
        let side = (shape.height == shape.width).then_some(shape.height);
        let config = DataConfig {
            split: self.split.unwrap_or(Split::Test),
            ..data_config(spec, shape.channels, self.size.or(side))?
        };
        let dataset = builtin::load_data(&config)?;
        let cache = Cache::new(!self.no_cache);
        let real = Real::from_dataset(&dataset, network, keep, &cache)?;
        Ok((dataset, config, real))
    }

    /// Reads a folder of pictures, and what they are measured against: both with these channels and this side,
    /// unless the user gives another.
    pub(super) fn for_folder(
        &self,
        folder: &Path,
        (channels, side): (usize, Option<usize>),
        network: &dyn FeatureNetwork,
    ) -> Outcome<(Dataset, Real)> {
        let side = self.size.or(side);
        let spec = format!("folder:{}", folder.display());
        let pictures = fewstep_data::load(&data_config(&spec, channels, side)?).blame_input()?;
        let real = self.load((channels, side), network, pictures.len())?;
        Ok((pictures, real))
    }

    fn load(
        &self,
        (channels, side): (usize, Option<usize>),
        network: &dyn FeatureNetwork,
        keep: usize,
    ) -> Outcome<Real> {
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
                Real::from_reference(Reference::load(file).blame_input()?, network)
            }
            (None, None) => Err(Failure::input(
                "there is nothing to measure against: give --data FOLDER, --data KIND:PATH or --reference FILE",
            )),
        }
    }
}

impl Real {
    fn from_reference(reference: Reference, network: &dyn FeatureNetwork) -> Outcome<Self> {
        reference.check(network).blame_input()?;
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
    ) -> Outcome<Self> {
        let source = format!("{} {}", dataset.name, dataset.fingerprint());
        let entry = cache.entry(&dataset.fingerprint(), network.id());
        let keep = keep.min(dataset.len());
        let features = match entry.features(keep, network.dim()) {
            Some(features) => features,
            None => {
                let some = dataset.select((0..keep).map(|k| k * dataset.len() / keep));
                let features = features_of(&some, network, "looking at real pictures")?;
                entry.keep_features(&features);
                features
            }
        };
        let statistics = match entry.statistics(network) {
            Some(statistics) => statistics,
            None => {
                let statistics = match keep == dataset.len() {
                    true => Statistics::of(&features).map_err(blame)?,
                    false => statistics_of(dataset, network)?,
                };
                entry.keep_statistics(&statistics, network.id(), &source);
                statistics
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

/// What the network sees in all pictures of a set.
pub(super) fn features_of(
    dataset: &Dataset,
    network: &dyn FeatureNetwork,
    title: &str,
) -> Outcome<Features> {
    let mut all = Features::empty(network.dim());
    look_at(dataset, network, title, |part| {
        all.append(part).map_err(blame)
    })?;
    Ok(all)
}

fn statistics_of(dataset: &Dataset, network: &dyn FeatureNetwork) -> Outcome<Statistics> {
    let mut builder = StatisticsBuilder::new(network.dim());
    look_at(dataset, network, "real statistics", |part| {
        builder.push(&part).map_err(blame)
    })?;
    builder.finish().map_err(blame)
}

/// Gives the features of all pictures in their order, a part at a time.
fn look_at(
    dataset: &Dataset,
    network: &dyn FeatureNetwork,
    title: &str,
    mut take: impl FnMut(Features) -> Outcome,
) -> Outcome {
    let bar = progress::bar(title, dataset.len() as u64, "pictures");
    for first in (0..dataset.len()).step_by(CHUNK) {
        let part = first..(first + CHUNK).min(dataset.len());
        let pixels: Vec<u8> = part
            .clone()
            .flat_map(|i| dataset.image(i))
            .copied()
            .collect();
        take(features_of_pixels(&pixels, dataset.shape, network)?)?;
        bar.inc(part.len() as u64);
    }
    bar.finish_and_clear();
    Ok(())
}

/// What the network sees in pictures of one shape, one behind the other.
pub(super) fn features_of_pixels(
    pixels: &[u8],
    shape: ImageShape,
    network: &dyn FeatureNetwork,
) -> Outcome<Features> {
    let pictures =
        Pictures::new(shape.channels, shape.height, shape.width, pixels).map_err(blame)?;
    network.features(&pictures).map_err(blame)
}

/// Reads KIND:PATH, or a folder.
fn data_config(spec: &str, channels: usize, size: Option<usize>) -> Outcome<DataConfig> {
    let known = |name: &str| KINDS.iter().find(|(known, _)| *known == name);
    let (kind, path) = match spec.split_once(':') {
        Some(("builtin", _)) => (DataKind::Idx, spec),
        Some((name, path)) => match known(name) {
            Some((_, kind)) => (*kind, path),
            None if Path::new(spec).exists() => (DataKind::Folder, spec),
            None => {
                let names = KINDS.map(|(name, _)| name).join(", ");
                return Err(Failure::input(format!(
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
