//! What a pixel U-Net looks like.

use crate::AdapterConfig;
use serde::{Deserialize, Serialize};

/// A pixel-space U-Net in the style of the papers' networks: diffusers' `UNet2DModel` with FiLM, plus a stem
/// that folds small patches into channels and an input for the guidance weight.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UNetConfig {
    /// Channels of the pictures.
    pub channels: usize,
    /// Side of the patches that the stem folds into channels: 1 for none; 2 makes a 32x32 picture 16x16.
    #[serde(default = "one")]
    pub patch: usize,
    /// Feature channels of each level; every level halves the resolution.
    pub widths: Vec<usize>,
    /// Residual blocks of each level on the way down (one more on the way up).
    pub blocks: usize,
    /// Whether each level has attention after its residual blocks. The middle always has.
    pub attention: Vec<bool>,
    /// Channels of one attention head.
    #[serde(default = "default_head")]
    pub head: usize,
    /// Groups of each group normalisation.
    #[serde(default = "default_groups")]
    pub groups: usize,
    /// How resolution changes between levels.
    #[serde(default)]
    pub resampling: Resampling,
    /// Probability of dropout inside residual blocks while training.
    #[serde(default)]
    pub dropout: f64,
    /// Number of classes; 0 for an unconditional network. One more embedding stands for "no class".
    #[serde(default)]
    pub classes: usize,
    /// Input for the guidance weight w; absent in a teacher.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub w: Option<WEmbedding>,
    /// Input for a condition image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<AdapterConfig>,
}

/// How w enters: the sinusoid of `scale`·w goes through a projection without bias, which starts at zero, and is
/// added to the sinusoid of the time (diffusers' `time_cond_proj_dim`).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WEmbedding {
    /// Size of the sinusoid, even.
    pub dim: usize,
    /// Factor on w: 1000 as diffusers has it; 1000 / w_max is smoother.
    #[serde(default = "default_w_scale")]
    pub scale: f64,
}

/// How resolution changes between levels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resampling {
    /// A convolution with stride 2 down; nearest neighbour and a convolution up.
    #[default]
    Conv,
    /// Inside a residual block: average pooling down, nearest neighbour up.
    Block,
}

fn one() -> usize {
    1
}
fn default_head() -> usize {
    32
}
fn default_groups() -> usize {
    16
}
fn default_w_scale() -> f64 {
    1000.0
}

/// A network that cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("network: {0}")]
pub struct ConfigError(String);

impl ConfigError {
    pub(crate) fn new(message: String) -> Self {
        Self(message)
    }
}

impl UNetConfig {
    /// Checks that the numbers fit together.
    ///
    /// # Errors
    /// Names the field, what it is, and what it must be.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let error = |message: String| Err(ConfigError(message));
        if self.channels == 0 || self.patch == 0 || self.blocks == 0 || self.groups == 0 {
            return error("`channels`, `patch`, `blocks` and `groups` must be at least 1".into());
        }
        if self.widths.is_empty() {
            return error(
                "`widths` is empty: give the feature channels of each level, such as [32, 64]"
                    .into(),
            );
        }
        if self.attention.len() != self.widths.len() {
            return error(format!(
                "`attention` has {} entries and `widths` has {}: give one true or false per level",
                self.attention.len(),
                self.widths.len()
            ));
        }
        for &width in &self.widths {
            if width % self.groups != 0 || width % 2 != 0 {
                return error(format!(
                    "width {width} must be even and a multiple of `groups` = {}",
                    self.groups
                ));
            }
        }
        for (width, _) in self.attended_widths() {
            if self.head == 0 || width % self.head != 0 {
                return error(format!(
                    "attention at width {width} needs a multiple of `head` = {}",
                    self.head
                ));
            }
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return error(format!(
                "`dropout` is {}, it must lie in [0, 1)",
                self.dropout
            ));
        }
        if let Some(adapter) = &self.adapter {
            adapter.validate()?;
        }
        match self.w {
            Some(w) if w.dim < 4 || w.dim % 2 != 0 => error(format!(
                "`w.dim` is {}, it must be even and at least 4",
                w.dim
            )),
            _ => Ok(()),
        }
    }

    /// Checks that pictures of this size can go through all levels.
    ///
    /// # Errors
    /// When height or width is not a multiple of what folding and halving need.
    pub fn validate_size(&self, height: usize, width: usize) -> Result<(), ConfigError> {
        let multiple = self.patch << (self.widths.len() - 1);
        if height.is_multiple_of(multiple) && width.is_multiple_of(multiple) {
            return Ok(());
        }
        Err(ConfigError(format!(
            "pictures of {height}x{width} do not fit: with `patch` = {} and {} levels, height and width must be multiples of {multiple}",
            self.patch,
            self.widths.len()
        )))
    }

    /// Size of the embedding of time, class and w.
    pub(crate) fn embedding_dim(&self) -> usize {
        4 * self.widths[0]
    }

    fn attended_widths(&self) -> impl Iterator<Item = (usize, bool)> + '_ {
        let last = self.widths.len() - 1;
        self.widths
            .iter()
            .zip(&self.attention)
            .enumerate()
            .filter(move |(level, (_, attention))| **attention || *level == last)
            .map(|(_, (&width, &attention))| (width, attention))
    }
}
