//! The metrics of one set of images.

use super::real::Real;
use crate::commands::shared::measure::metrics_error;
use crate::error::{CliError, CliResult};
use fewstep_metrics::{
    Features, MetricsError, Retrieval, Statistics, classifier_score, frechet_distance, kid,
    precision_recall, retrieval,
};
use serde::Serialize;

/// Subsets of the kernel distance, and samples of each: the usual setting.
const KID_SUBSETS: usize = 100;
const KID_SUBSET_SIZE: usize = 1000;

/// Neighbours of precision and recall.
const NEIGHBOURS: usize = 3;

/// Samples of one split of the classifier score: the usual setting has 10 splits of as many.
const SPLIT_SIZE: usize = 5000;

/// What the metrics say.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Metrics {
    pub(super) fid: f64,
    /// As precision and recall, only where the real images are at hand and not just their statistics.
    pub(super) kid: Option<f64>,
    pub(super) precision: Option<f64>,
    pub(super) recall: Option<f64>,
    /// Only where the network has a head.
    pub(super) classifier_score: Option<f64>,
}

/// Compares images with real ones by their features.
pub(super) fn compare(drawn: &Features, real: &Real, seed: u64) -> CliResult<Metrics> {
    let measure = || -> Result<Metrics, MetricsError> {
        let fid = frechet_distance(&Statistics::of(drawn)?, &real.statistics)?;
        let score = match &drawn.probabilities {
            Some(p) => Some(classifier_score(p, (drawn.count() / SPLIT_SIZE).max(1))?.mean),
            None => None,
        };
        let mut metrics = Metrics {
            fid,
            kid: None,
            precision: None,
            recall: None,
            classifier_score: score,
        };
        if let Some(features) = &real.features {
            let size = KID_SUBSET_SIZE.min(drawn.count()).min(features.count());
            let (precision, recall) = precision_recall(features, drawn, NEIGHBOURS)?;
            metrics.kid = Some(kid(drawn, features, KID_SUBSETS, size, seed)?.mean);
            metrics.precision = Some(precision);
            metrics.recall = Some(recall);
        }
        Ok(metrics)
    };
    measure().map_err(metrics_error)
}

/// How often images find, among as many real ones, that of their text; the n-th of them belong together.
pub(super) fn retrieve(drawn: &Features, real: &Real) -> CliResult<Retrieval> {
    match &real.features {
        Some(features) => retrieval(drawn, features).map_err(metrics_error),
        None => Err(CliError::input("there are no real images to find")),
    }
}

/// The same for images that were drawn from the texts of all real ones.
pub(super) fn find(drawn: &Features, real: &Real) -> CliResult<Retrieval> {
    match &real.features {
        Some(features) if features.count() == real.statistics.count => retrieve(drawn, real),
        _ => Err(CliError::input(
            "--in-turn compares with every real image: give them all (--data), and at least as many drawn ones",
        )),
    }
}
