//! Reads the dataset that a configuration names.

use crate::collector::ImageCollector;
use crate::config::{check, expand_home};
use crate::{DataConfig, DataError, DataKind, Dataset, ImageShape, cifar, folder, idx, parquet};

/// Reads the dataset that `config` names, whole, into memory.
///
/// # Errors
/// Missing, unreadable, truncated or damaged files; an empty folder; unreadable images; labels out
/// of range; images of different sizes without `size`; a size, limit, number of channels or list of
/// class names that does not fit.
pub fn load(config: &DataConfig) -> Result<Dataset, DataError> {
    let path = expand_home(&config.path);
    let origin = path.display().to_string();
    check(config, &origin)?;
    let mut dataset = match config.kind {
        DataKind::FashionMnist => {
            fit_digits(idx::read_fashion_mnist(&path, config.split)?, config)?
        }
        DataKind::Mnist => fit_digits(idx::read_mnist(&path, config.split)?, config)?,
        DataKind::Idx => fit_digits(idx::read(&path, config.split)?, config)?,
        DataKind::Cifar10 => fit_photographs(cifar::read(&path, config.split)?, config)?,
        DataKind::Folder => folder::read(&path, config)?,
        DataKind::Parquet => parquet::read(&path, config, ImageCollector::new(config))?,
        DataKind::Captioned => {
            return Err(DataError::Config {
                key: "data.kind",
                got: "captioned".into(),
                origin,
                expected: "a kind with classes or without: captions are for text-to-image models"
                    .into(),
            });
        }
    };
    if !config.labels {
        dataset = dataset.without_labels();
    } else if let Some(names) = &config.class_names {
        dataset = dataset.with_class_names(names)?;
    }
    let (images, classes) = (dataset.len(), dataset.classes.len());
    tracing::info!(name = dataset.name, images, classes, shape = %dataset.shape, "dataset read");
    Ok(dataset)
}

/// Brings a set of small images to what `config` says of number, channels and size.
///
/// # Errors
/// As [`load`].
pub fn fit(dataset: Dataset, config: &DataConfig) -> Result<Dataset, DataError> {
    check(config, &dataset.name)?;
    let dataset = fit_digits(dataset, config)?;
    Ok(match config.labels {
        true => dataset,
        false => dataset.without_labels(),
    })
}

fn fit_digits(dataset: Dataset, config: &DataConfig) -> Result<Dataset, DataError> {
    let dataset = limit_and_colour(dataset, config)?;
    match config.size {
        Some(side) => dataset.pad_to(side),
        None => Ok(dataset),
    }
}

fn fit_photographs(dataset: Dataset, config: &DataConfig) -> Result<Dataset, DataError> {
    let dataset = limit_and_colour(dataset, config)?;
    match config.size {
        Some(side) => dataset.resize_to(side),
        None => Ok(dataset),
    }
}

fn limit_and_colour(dataset: Dataset, config: &DataConfig) -> Result<Dataset, DataError> {
    let dataset = dataset.limit(config.limit.unwrap_or(usize::MAX));
    let channels = config.channels.unwrap_or(dataset.shape.channels);
    let ImageShape { height, width, .. } = dataset.shape;
    let [height, width] = config.size.map_or([height, width], |side| [side, side]);
    let shape = ImageShape {
        channels,
        height,
        width,
    };
    config.check_memory(dataset.len(), shape, &dataset.name)?;
    dataset.with_channels(channels)
}
