//! The real images that others are measured against.

mod cache;
mod extract;
mod statistics;

pub(super) use extract::features_of;
pub(super) use statistics::Real;

use crate::builtin;
use crate::error::{CliError, CliResult, IntoCliResult};
use crate::parsers::named;
use cache::Cache;
use fewstep_data::{
    Captioned, Check, DataConfig, DataError, DataKind, Dataset, FASHION_MNIST_CLASSES, ImageShape,
    Split,
};
use fewstep_metrics::{FeatureNetwork, Reference};
use std::path::{Path, PathBuf};

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

/// The flags for the real images.
#[derive(clap::Args)]
pub(super) struct RealArgs {
    /// Real images: a folder of images, or KIND:PATH where KIND is fashion-mnist, mnist, idx,
    /// cifar10, folder, parquet or captioned.
    #[arg(long, value_name = "DATA")]
    data: Option<String>,
    /// Part of the data [default: train; test for models that generate from control images].
    #[arg(long, value_parser = named(&SPLITS))]
    split: Option<Split>,
    /// Resize image files to this side in pixels [default: the model's side, or no resizing].
    #[arg(long)]
    size: Option<usize>,
    /// Use stored statistics of real images instead of --data: a safetensors file.
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    reference: Option<PathBuf>,
    /// Compute the statistics of the data again, and do not keep them in ~/.cache/fewstep.
    #[arg(long)]
    no_cache: bool,
}

/// Real images with what a model generates from.
pub(super) struct ReferenceSet {
    pub(super) images: Dataset,
    /// The caption of each; empty without captions.
    pub(super) captions: Vec<String>,
    /// Where they were read from.
    pub(super) config: DataConfig,
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
        self.load((shape.channels, self.size.or(side)), classes, network, keep)
    }

    /// The images whose control images or captions a model generates from, and all of them as what
    /// the generated images are measured against. `what` names what it generates from.
    pub(super) fn for_generating(
        &self,
        (shape, what): (ImageShape, &str),
        split: Split,
        network: &dyn FeatureNetwork,
        keep: usize,
    ) -> CliResult<(ReferenceSet, Real)> {
        let Some(spec) = &self.data else {
            return Err(CliError::input(format!(
                "this model generates from {what}, which come with real images: give them with --data KIND:PATH"
            )));
        };
        let side = (shape.height == shape.width).then_some(shape.height);
        let config = DataConfig {
            split: self.split.unwrap_or(split),
            ..data_config(spec, shape.channels, self.size.or(side))?
        };
        let (images, captions) = match config.kind {
            DataKind::Captioned => {
                let captioned = Captioned::open(&config).input_error()?;
                let contents = captioned.check(Check::Present).input_error()?;
                (captioned.dataset().input_error()?, contents.captions)
            }
            _ => (builtin::load_data(&config)?, vec![]),
        };
        let cache = Cache::new(!self.no_cache);
        let real = Real::from_dataset(&images, &[], network, keep, &cache)?;
        let set = ReferenceSet {
            images,
            captions,
            config,
        };
        Ok((set, real))
    }

    /// Reads a folder of images, and the real images for it. Both have these channels and this
    /// side, unless --size says otherwise.
    pub(super) fn for_folder(
        &self,
        folder: &Path,
        (channels, side): (usize, Option<usize>),
        network: &dyn FeatureNetwork,
    ) -> CliResult<(Dataset, Real)> {
        let side = self.size.or(side);
        let spec = format!("folder:{}", folder.display());
        let images = fewstep_data::load(&data_config(&spec, channels, side)?).input_error()?;
        let real = self.load((channels, side), &[], network, images.len())?;
        Ok((images, real))
    }

    fn load(
        &self,
        (channels, side): (usize, Option<usize>),
        classes: &[String],
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
                Real::from_dataset(&dataset, classes, network, keep, &cache)
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

/// The number that a model has for each class of a dataset; none where either has no classes, or no
/// names for its classes and another number of them.
pub(super) fn class_numbers(dataset: &Dataset, model: &[String]) -> CliResult<Option<Vec<u32>>> {
    if model.is_empty() {
        return Ok(None);
    }
    match dataset.class_numbers(model) {
        Err(DataError::ClassCount { .. }) => Ok(None),
        numbers => numbers.input_error().map(Some),
    }
}

/// Parses KIND:PATH, or a folder.
fn data_config(spec: &str, channels: usize, size: Option<usize>) -> CliResult<DataConfig> {
    let find = |name: &str| KINDS.iter().find(|(kind, _)| *kind == name);
    let (kind, path) = match spec.split_once(':') {
        Some(("builtin", _)) => (DataKind::Idx, spec),
        Some((name, path)) => match find(name) {
            Some((_, kind)) => (*kind, path),
            None if Path::new(spec).exists() => (DataKind::Folder, spec),
            None => {
                let names = KINDS.map(|(name, _)| name).join(", ");
                return Err(CliError::input(format!(
                    "--data {spec}: `{name}` is no kind of dataset; use one of {names}"
                )));
            }
        },
        None => (DataKind::Folder, spec),
    };
    Ok(DataConfig {
        size,
        channels: Some(channels),
        ..DataConfig::new(kind, path)
    })
}
