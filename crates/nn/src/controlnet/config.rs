//! What a ControlNet looks like.

use crate::error::ConfigError;
use fewstep_diffusion::limits::{FEATURES, LEVELS, count};
use serde::{Deserialize, Serialize};

/// An encoder of control images for a U-Net.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlNetConfig {
    /// Channels of the control image.
    pub channels: usize,
    /// Feature channels of the stem; each after the first halves the resolution.
    pub stem: Vec<usize>,
    /// How the features of the control image are fused with those of the base.
    #[serde(default)]
    pub fusion: Fusion,
    /// Whether it was trained with control images in [0, 1], as those of diffusers are, and not in
    /// [-1, 1].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unit: bool,
}

/// How the features of the control image are fused with those of the base.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fusion {
    /// ControlNet's (2302.05543): the encoder sees z_t with the control image added to its first
    /// feature map, and its features are added to the base's through convolutions that start at
    /// zero.
    #[default]
    ZeroConv,
    /// The paper's (2310.01407): the encoder sees only the control image, and h' = (1 − μ) h + μ
    /// h_c with a learnt μ per feature map that starts at zero.
    Mix,
}

/// Where the encoder of a new ControlNet starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Initial {
    /// As a copy of the base's.
    #[default]
    Base,
    /// From random weights: the ablation.
    Random,
}

/// Feature channels of the stem, as ControlNet has them.
pub const STEM: [usize; 4] = [16, 32, 96, 256];

impl ControlNetConfig {
    /// The configuration for control images `[channels, height, width]` and a first feature map of
    /// `features` rows: as many halvings in the stem as the control image is larger, rounded down.
    /// The rest of the ratio the stem takes up by resizing the control image.
    pub(crate) fn for_control(control: [usize; 3], features: usize, fusion: Fusion) -> Self {
        let halvings = (control[1] / features.max(1)).checked_ilog2().unwrap_or(0) as usize;
        let width = |level: usize| STEM[level.min(STEM.len() - 1)];
        Self {
            channels: control[0],
            stem: (0..=halvings).map(width).collect(),
            fusion,
            unit: false,
        }
    }

    /// Checks every number.
    ///
    /// # Errors
    /// Names the field, what it is, and what it must be.
    pub fn validate(&self) -> Result<(), ConfigError> {
        count("controlnet.channels", self.channels, FEATURES)?;
        count("controlnet.stem", self.stem.len(), LEVELS)?;
        for width in &self.stem {
            count("controlnet.stem", *width, FEATURES)?;
        }
        Ok(())
    }
}
