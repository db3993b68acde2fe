//! Running a network on all images of a dataset.

use super::cache::{Entry, Spread};
use crate::commands::shared::measure::{features_of_pixels, metrics_error};
use crate::error::CliResult;
use crate::progress;
use fewstep_data::Dataset;
use fewstep_metrics::{FeatureNetwork, Features, Statistics, StatisticsBuilder};
use std::ops::Range;

/// Images that go through the network together.
const CHUNK: usize = 512;
/// Images after which the progress is saved: minutes of work for a large network.
pub(super) const BETWEEN_SAVES: usize = 8 * CHUNK;

/// Features of all images of a dataset.
pub(crate) fn features_of(
    dataset: &Dataset,
    network: &dyn FeatureNetwork,
    title: &str,
) -> CliResult<Features> {
    let mut all = Features::empty(network.dim());
    for_each_part(dataset, 0..dataset.len(), network, title, |part| {
        all.append(part).map_err(metrics_error)
    })?;
    Ok(all)
}

/// Statistics of all images, and the features of some. Continues where an earlier call was stopped.
pub(super) fn statistics_of(
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
    for_each_part(dataset, rest, network, "real images", |part| {
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

/// Passes on the features of the images of a range in order, a part at a time.
fn for_each_part(
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
