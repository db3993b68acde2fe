//! The real images that others are measured against.

mod cache;
mod extract;
mod statistics;

pub(super) use extract::features_of;
pub(super) use statistics::{Real, class_numbers};

use crate::builtin;
use crate::commands::shared::data_set;
use crate::error::{CliError, CliResult, IntoCliResult};
use crate::parsers::{data_side, named};
use cache::Cache;
use fewstep_data::{
    Captioned, Check, DataConfig, DataKind, Dataset, FASHION_MNIST_CLASSES, ImageShape, Split,
};
use fewstep_metrics::{FeatureNetwork, Reference};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Neighbours of precision and recall.
pub(super) const NEIGHBOURS: usize = 3;

const SPLITS: [(&str, Split); 2] = [("train", Split::Train), ("test", Split::Test)];

/// The flags for the real images.
#[derive(clap::Args)]
pub(super) struct RealArgs {
    /// Real images: a folder of images, or KIND:PATH where KIND is fashion-mnist, mnist, idx,
    /// cifar10, folder, parquet or captioned.
    #[arg(long, value_name = "DATA")]
    data: Option<String>,
    /// Set a key of the real images' [data], as in --set data.fit=pad or --set data.limit=5000; may
    /// be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "data")]
    overrides: Vec<String>,
    /// Part of the data [default: train; test for models that generate from control images].
    #[arg(long, value_parser = named(&SPLITS), requires = "data")]
    split: Option<Split>,
    /// Resize image files to this side in pixels [default: the model's side, or no resizing].
    #[arg(long, value_parser = data_side)]
    size: Option<usize>,
    /// Pixels that an image file may have; one with more is refused before it is decoded [default:
    /// 134217728].
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u64).range(1..))]
    max_pixels: Option<u64>,
    /// Use stored statistics of real images instead of --data: a safetensors file.
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    reference: Option<PathBuf>,
    /// Compute the statistics of the data again, and do not keep them in ~/.cache/fewstep.
    #[arg(long)]
    no_cache: bool,
}

#[derive(Deserialize)]
struct Section {
    data: DataConfig,
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
    /// Whether there are real images, and not only their statistics.
    pub(super) fn has_images(&self) -> bool {
        self.data.is_some()
    }

    /// Refuses the flags, where no real images are needed.
    pub(super) fn refuse_all(&self) -> CliResult {
        match self.data.is_some() || self.size.is_some() {
            false => Ok(()),
            true => Err(CliError::input(
                "this model needs no real images to be compared with its teacher: omit --data and --size",
            )),
        }
    }

    /// What the images of a model are measured against, with the features of `keep` real images.
    pub(super) fn for_model(
        &self,
        shape: ImageShape,
        classes: &[String],
        network: &dyn FeatureNetwork,
        keep: usize,
    ) -> CliResult<Real> {
        if self.size.is_some() && self.data.is_none() {
            return Err(CliError::input(
                "--size is for the real images: give them with --data, or omit it",
            ));
        }
        if self.data.is_none() && self.reference.is_none() {
            let reference = builtin::fashion_mnist_reference()?;
            if classes == FASHION_MNIST_CLASSES && reference.check(network).is_ok() {
                return Real::from_reference(reference, network);
            }
        }
        let side = (shape.height == shape.width).then_some(shape.height);
        self.load((shape.channels, side), classes, network, keep)
    }

    /// The images whose control images or captions a model generates from. `what` names what it
    /// generates from.
    pub(super) fn for_generating(
        &self,
        (shape, what): (ImageShape, &str),
        split: Split,
    ) -> CliResult<ReferenceSet> {
        let Some(spec) = &self.data else {
            return Err(CliError::input(format!(
                "this model generates from {what}, which come with real images: give them with --data KIND:PATH"
            )));
        };
        let side = (shape.height == shape.width).then_some(shape.height);
        let config = self.config(spec, (shape.channels, side), split)?;
        let (images, captions) = match config.kind {
            DataKind::Captioned => {
                let captioned = Captioned::open(&config).input_error()?;
                let contents = captioned.check(Check::Present).input_error()?;
                (captioned.dataset().input_error()?, contents.captions)
            }
            _ => (builtin::load_data(&config)?, vec![]),
        };
        Ok(ReferenceSet {
            images,
            captions,
            config,
        })
    }

    /// All images of a set as what others are measured against, with the features of `keep` of
    /// them.
    pub(super) fn of_set(
        &self,
        set: &ReferenceSet,
        network: &dyn FeatureNetwork,
        keep: usize,
    ) -> CliResult<Real> {
        let cache = Cache::new(!self.no_cache);
        Real::from_dataset(&set.images, &[], network, keep, &cache)
    }

    /// Reads a folder of images, and the real images for it. Both have these channels and this
    /// side, unless --size says otherwise. `in_turn` is whether each was generated from the caption
    /// of a real one.
    pub(super) fn for_folder(
        &self,
        folder: &Path,
        shape: (usize, Option<usize>),
        network: &dyn FeatureNetwork,
        in_turn: bool,
    ) -> CliResult<(Dataset, Real)> {
        let images = fewstep_data::load_images(&self.folder(folder, shape)).input_error()?;
        if images.len() < 2 {
            return Err(CliError::input(format!(
                "{} holds one image, and statistics need at least 2",
                folder.display()
            )));
        }
        let Some(spec) = &self.data else {
            if in_turn {
                return Err(CliError::input(
                    "--in-turn compares with every real image: give them with --data",
                ));
            }
            let real = self.load(shape, &[], network, images.len())?;
            return Ok((images, real));
        };
        let dataset = read(&self.config(spec, shape, Split::Train)?)?;
        let few = images.len().min(dataset.len());
        if few <= NEIGHBOURS {
            return Err(CliError::input(format!(
                "precision and recall need at least {} samples, got {few}",
                NEIGHBOURS + 1
            )));
        }
        if in_turn && !images.len().is_multiple_of(dataset.len()) {
            return Err(CliError::input(format!(
                "--in-turn: {} images are no whole number of turns through the {} real ones: generate one image, or several, from each caption",
                images.len(),
                dataset.len()
            )));
        }
        let cache = Cache::new(!self.no_cache);
        let real = Real::from_dataset(&dataset, &[], network, images.len(), &cache)?;
        Ok((images, real))
    }

    /// Refuses images in colour, for a network of grey ones that nobody asked for: those of a folder
    /// that is to be measured, and the real ones.
    pub(super) fn refuse_colour(&self, folder: &Path) -> CliResult {
        const SOME: usize = 16;
        let shape = (3, Some(32));
        let mut sets = vec![fewstep_data::load_images(&DataConfig {
            limit: Some(SOME),
            ..self.folder(folder, shape)
        })];
        if let Some(spec) = &self.data {
            let config = self.config(spec, shape, Split::Train)?;
            let some = DataConfig {
                limit: Some(SOME),
                ..config
            };
            sets.push(Ok(read(&some)?));
        }
        for set in sets {
            let set = set.input_error()?;
            let plane = set.shape.height * set.shape.width;
            let coloured = |image: usize| {
                let (red, others) = set.pixels(image).split_at(plane);
                others.chunks(plane).any(|other| other != red)
            };
            if (0..set.len()).any(coloured) {
                return Err(CliError::input(format!(
                    "{} holds images in colour, and the embedded classifier knows only grey ones of 32x32, of clothes: use --features inception or --features cifar-resnet, with --weights FILE (or --features fashion-mnist-classifier to measure them in grey)",
                    set.name
                )));
            }
        }
        Ok(())
    }

    fn folder(&self, folder: &Path, (channels, side): (usize, Option<usize>)) -> DataConfig {
        builtin::in_memory(&DataConfig {
            size: self.size.or(side),
            channels: Some(channels),
            max_pixels: self.max_pixels,
            ..DataConfig::new(DataKind::Folder, folder)
        })
    }

    /// The real images that --data names, of this part without --split.
    fn config(
        &self,
        spec: &str,
        (channels, side): (usize, Option<usize>),
        split: Split,
    ) -> CliResult<DataConfig> {
        let named = DataConfig {
            split: self.split.unwrap_or(split),
            size: self.size.or(side),
            channels: Some(channels),
            max_pixels: self.max_pixels,
            ..data_set::named(spec)?
        };
        let overrides = &self.overrides;
        let Section { data } = data_set::with_settings(&named, spec, overrides, &["data"])?;
        Ok(builtin::in_memory(&data))
    }

    fn load(
        &self,
        shape: (usize, Option<usize>),
        classes: &[String],
        network: &dyn FeatureNetwork,
        keep: usize,
    ) -> CliResult<Real> {
        match (&self.data, &self.reference) {
            (Some(spec), _) => {
                let dataset = read(&self.config(spec, shape, Split::Train)?)?;
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

/// The images of a set of any kind; those of a captioned set in the order of its captions.
fn read(config: &DataConfig) -> CliResult<Dataset> {
    match config.kind {
        DataKind::Captioned => {
            let captioned = Captioned::open(config).input_error()?;
            captioned.dataset().input_error()
        }
        _ => builtin::load_data(config),
    }
}
