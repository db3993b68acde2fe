//! Results in the form that is stored.

use super::inputs::InputKind;
use super::metrics::{self, Metrics};
use super::pairs::{PairMetrics, PairValues};
use super::real::Real;
use crate::commands::shared::loras::Used;
use crate::commands::shared::measure::{Measured, SampledModel};
use crate::error::CliResult;
use crate::numbers::is_zero;
use fewstep_diffusion::Role;
use fewstep_metrics::{FeatureId, Features, Retrieval};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What is measured: a model, and how it is sampled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Setting {
    model: String,
    #[serde(flatten)]
    used: Used,
    #[serde(default, skip_serializing_if = "is_zero")]
    clip_skip: usize,
    /// Whether factors of products were rounded to bf16.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    bf16_products: bool,
    pub(super) weights_hash: String,
    pub(super) sampler: String,
    pub(super) steps: usize,
    pub(super) w: Option<f64>,
    pub(super) network_calls: usize,
    pub(super) seed: u64,
}

/// One measurement of a model.
#[derive(Serialize)]
pub(super) struct Row {
    #[serde(flatten)]
    pub(super) setting: Setting,
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
    pub(super) seconds_per_image: f64,
    pub(super) samples: usize,
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

impl Setting {
    pub(super) fn of(sampled: &SampledModel, seed: u64, used: &Used) -> Self {
        Self {
            model: match sampled.generator.model().recipe.role {
                Role::Teacher => "teacher".into(),
                Role::Student { .. } => "student".into(),
            },
            used: used.clone(),
            clip_skip: sampled.generator.model().recipe.clip_skip,
            bf16_products: fewstep_kernels::bf16_products_are_allowed(),
            weights_hash: sampled.generator.weights_hash().into(),
            sampler: sampled.sampler.name(),
            steps: sampled.steps,
            w: sampled.w,
            network_calls: sampled.network_calls(),
            seed,
        }
    }
}

impl Row {
    /// Compares what was measured with real images. `kind` is what the images were generated from.
    pub(super) fn new(
        setting: Setting,
        measured: &Measured,
        values: Option<PairValues>,
        kind: &InputKind,
        real: &Real,
        features: &FeatureId,
    ) -> CliResult<Self> {
        let texts = real.features.as_ref().map_or(0, Features::count);
        Ok(Self {
            metrics: metrics::compare(&measured.features, real, setting.seed)?,
            pairs: match &values {
                Some(values) => Some(PairValues::metrics(&[values])?),
                None => None,
            },
            retrieval: match (kind, texts) {
                (InputKind::Prompts, 2..) => Some(metrics::retrieve(&measured.features, real)?),
                _ => None,
            },
            values,
            seconds_per_image: measured.seconds_per_image,
            samples: measured.features.count(),
            features: features.to_string(),
            reference: real.source.clone(),
            reference_samples: real.statistics.count,
            setting,
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
