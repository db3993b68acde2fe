//! Statistics and features of real images.

use super::cache::{Cache, Spread};
use super::extract::{features_of, statistics_of};
use crate::error::{CliResult, IntoCliResult};
use fewstep_data::{DataError, Dataset};
use fewstep_metrics::{FeatureNetwork, Features, Reference, Statistics};

/// Real images, as the metrics need them.
pub(crate) struct Real {
    pub(crate) statistics: Statistics,
    /// Features of some of the images, spread evenly; none if there are only statistics.
    pub(crate) features: Option<Features>,
    /// Where they come from.
    pub(crate) source: String,
    /// How many there are of each class of the model, if that is known.
    pub(crate) class_counts: Option<Vec<u64>>,
}

impl Real {
    pub(super) fn from_reference(
        reference: Reference,
        network: &dyn FeatureNetwork,
    ) -> CliResult<Self> {
        reference.check(network).input_error()?;
        Ok(Self {
            statistics: reference.statistics,
            features: None,
            source: reference.source,
            class_counts: None,
        })
    }

    /// For a model with these classes.
    pub(super) fn from_dataset(
        dataset: &Dataset,
        classes: &[String],
        network: &dyn FeatureNetwork,
        keep: usize,
        cache: &Cache,
    ) -> CliResult<Self> {
        let class_counts = class_counts(dataset, classes)?;
        let source = format!("{} {}", dataset.name, dataset.fingerprint());
        let some = Spread {
            keep: keep.min(dataset.len()),
            len: dataset.len(),
        };
        let entry = cache.entry(&dataset.fingerprint(), network.id(), &source);
        let cached = entry.statistics(network);
        let (statistics, features) = match (cached, entry.features(some.keep, network.dim())) {
            (Some(statistics), Some(features)) => (statistics, features),
            (cached, _) => {
                let (statistics, features) = match cached {
                    Some(statistics) => {
                        let images = dataset.select((0..some.keep).map(|k| some.index(k)));
                        (statistics, features_of(&images, network, "real images")?)
                    }
                    None => statistics_of(dataset, network, &some, &entry)?,
                };
                entry.keep(&statistics, &features, network.id());
                (statistics, features)
            }
        };
        Ok(Self {
            statistics,
            features: Some(features),
            source,
            class_counts,
        })
    }
}

fn class_counts(dataset: &Dataset, classes: &[String]) -> CliResult<Option<Vec<u64>>> {
    let Some(numbers) = class_numbers(dataset, classes)? else {
        return Ok(None);
    };
    let mut counts = vec![0; classes.len()];
    for &label in dataset.labels().unwrap_or_default() {
        counts[numbers[label as usize] as usize] += 1;
    }
    Ok(Some(counts))
}

/// The number that a model has for each class of a dataset; none where either has no classes, or
/// where classes without names are fewer than the model's, as a set may not show them all.
pub(in super::super) fn class_numbers(
    dataset: &Dataset,
    model: &[String],
) -> CliResult<Option<Vec<u32>>> {
    if model.is_empty() {
        return Ok(None);
    }
    match dataset.class_numbers(model) {
        Err(DataError::ClassCount {
            found, expected, ..
        }) if found < expected => Ok(None),
        numbers => numbers.input_error().map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::super::extract::BETWEEN_SAVES;
    use super::*;
    use fewstep_data::ImageShape;
    use fewstep_metrics::{FeatureId, FeatureKind, Images, MetricsError};
    use std::path::Path;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Its features are the pixels; it fails after so many images.
    struct PixelNetwork {
        id: FeatureId,
        left: AtomicUsize,
    }

    impl PixelNetwork {
        fn for_images(images: usize) -> Self {
            let id = FeatureId {
                name: "pixels".into(),
                hash: "0123".into(),
                kind: FeatureKind::Classifier,
            };
            Self {
                id,
                left: images.into(),
            }
        }
    }

    impl FeatureNetwork for PixelNetwork {
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
                left.ok_or(MetricsError::NotFinite { metric: "pixels" })?,
                Ordering::Relaxed,
            );
            let values = images.pixels.iter().map(|&p| f32::from(p)).collect();
            Features::new(2, values)
        }
    }

    #[test]
    fn a_measurement_that_was_stopped_goes_on() {
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
        let measure = |network: &PixelNetwork, folder: Option<&Path>| {
            let cache = Cache {
                folder: folder.map(Path::to_path_buf),
            };
            Real::from_dataset(&dataset, &[], network, 700, &cache)
        };
        let expected =
            measure(&PixelNetwork::for_images(images), None).unwrap_or_else(|_| panic!());
        let stopped = measure(&PixelNetwork::for_images(5_000), Some(folder.path()));
        assert!(stopped.is_err());
        let rest = PixelNetwork::for_images(images - BETWEEN_SAVES);
        let got = measure(&rest, Some(folder.path())).unwrap_or_else(|_| panic!());
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
        // Nothing unfinished is left, and nothing is measured again.
        assert_eq!(
            std::fs::read_dir(folder.path())
                .expect("the folder")
                .count(),
            2
        );
        assert!(measure(&PixelNetwork::for_images(0), Some(folder.path())).is_ok());
    }
}
