//! Results in the form that is stored.

use super::metrics::Metrics;
use super::pairs::{PairMetrics, PairValues};
use super::real::Real;
use crate::commands::shared::measure::{Measured, SampledModel};
use crate::error::CliResult;
use fewstep_diffusion::Role;
use fewstep_metrics::{FeatureId, Retrieval};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// One measurement of a model.
#[derive(Serialize)]
pub(super) struct Row {
    model: &'static str,
    pub(super) weights_hash: String,
    pub(super) sampler: String,
    pub(super) steps: usize,
    pub(super) w: Option<f64>,
    #[serde(flatten)]
    pub(super) metrics: Metrics,
    /// Of models that generate from control images.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(super) pairs: Option<PairMetrics>,
    /// Of models that generate from prompts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) retrieval: Option<Retrieval>,
    #[serde(skip)]
    pub(super) values: Option<PairValues>,
    pub(super) network_calls: usize,
    pub(super) seconds_per_image: f64,
    pub(super) samples: usize,
    seed: u64,
    features: String,
    reference: String,
    reference_samples: usize,
}

/// One folder of images against real ones.
#[derive(Serialize)]
pub(super) struct Comparison {
    pub(super) images: PathBuf,
    #[serde(flatten)]
    pub(super) metrics: Metrics,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) retrieval: Option<Retrieval>,
    pub(super) samples: usize,
    features: String,
    reference: String,
    reference_samples: usize,
}

impl Row {
    pub(super) fn new(
        sampled: &SampledModel,
        measured: &Measured,
        values: Option<PairValues>,
        metrics: Metrics,
        seed: u64,
        real: &Real,
        features: &FeatureId,
    ) -> CliResult<Self> {
        let model = sampled.generator.model();
        Ok(Self {
            model: match model.recipe.role {
                Role::Teacher => "teacher",
                Role::Student { .. } => "student",
            },
            weights_hash: sampled.generator.weights_hash().into(),
            sampler: sampled.sampler.name(),
            steps: sampled.steps,
            w: sampled.w,
            metrics,
            pairs: match &values {
                Some(values) => Some(PairValues::metrics(&[values])?),
                None => None,
            },
            retrieval: None,
            values,
            network_calls: sampled.network_calls(),
            seconds_per_image: measured.seconds_per_image,
            samples: measured.features.count(),
            seed,
            features: features.to_string(),
            reference: real.source.clone(),
            reference_samples: real.statistics.count,
        })
    }
}

impl Comparison {
    pub(super) fn new(
        folder: &Path,
        samples: usize,
        metrics: Metrics,
        real: &Real,
        features: &FeatureId,
    ) -> Self {
        Self {
            images: folder.into(),
            metrics,
            retrieval: None,
            samples,
            features: features.to_string(),
            reference: real.source.clone(),
            reference_samples: real.statistics.count,
        }
    }
}
