//! The metrics of one set of images.

use super::real::{NEIGHBOURS, Real};
use crate::commands::shared::measure::metrics_error;
use crate::error::{CliError, CliResult};
use fewstep_metrics::{
    Features, MetricsError, Retrieval, Statistics, classifier_score, frechet_distance, kid,
    precision_recall, retrieval,
};
use serde::Serialize;

/// Subsets for the kernel distance, and samples in each: the usual setting.
const KID_SUBSETS: usize = 100;
const KID_SUBSET_SIZE: usize = 1000;

/// Samples of one split of the classifier score: the usual setting has 10 splits of as many.
const SPLIT_SIZE: usize = 5000;

/// The metrics of one measurement.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Metrics {
    pub(super) fid: f64,
    /// Like precision and recall only with the real images themselves, not from their statistics.
    pub(super) kid: Option<f64>,
    pub(super) precision: Option<f64>,
    pub(super) recall: Option<f64>,
    /// Only if the network is a classifier.
    pub(super) classifier_score: Option<f64>,
}

/// Compares images with real ones by their features.
pub(super) fn compare(generated: &Features, real: &Real, seed: u64) -> CliResult<Metrics> {
    let measure = || -> Result<Metrics, MetricsError> {
        let fid = frechet_distance(&Statistics::of(generated)?, &real.statistics)?;
        let score = match &generated.probabilities {
            Some(p) => Some(classifier_score(p, (generated.count() / SPLIT_SIZE).max(1))?.mean),
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
            let size = KID_SUBSET_SIZE.min(generated.count()).min(features.count());
            let (precision, recall) = precision_recall(features, generated, NEIGHBOURS)?;
            metrics.kid = Some(kid(generated, features, KID_SUBSETS, size, seed)?.mean);
            metrics.precision = Some(precision);
            metrics.recall = Some(recall);
        }
        Ok(metrics)
    };
    measure().map_err(metrics_error)
}

/// How often a generated image's nearest real one is that of its caption; the n-th images belong
/// together.
pub(super) fn retrieve(generated: &Features, real: &Real) -> CliResult<Retrieval> {
    match &real.features {
        Some(features) => retrieval(generated, features).map_err(metrics_error),
        None => Err(CliError::input(
            "retrieval needs real images, not only their statistics",
        )),
    }
}

/// The same for images generated from the captions of all real ones.
pub(super) fn retrieve_in_turn(generated: &Features, real: &Real) -> CliResult<Retrieval> {
    match &real.features {
        Some(features) if features.count() == real.statistics.count => retrieve(generated, real),
        _ => Err(CliError::input(
            "--in-turn compares with every real image: give all of them (--data), and at least as many generated ones",
        )),
    }
}
