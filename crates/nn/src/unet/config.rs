//! What a U-Net looks like.

use super::resample::Resampling;
use super::text_time::TextTime;
use super::transformer::TextAttention;
use crate::controlnet::config::{ControlNetConfig, Fusion};
use crate::error::ConfigError;
use crate::layers::embedding::{Sinusoid, WEmbedding};
use crate::layers::resnet::{Modulation, ResnetOptions};
use crate::train::LoraConfig;
use fewstep_diffusion::limits::{BLOCKS, FEATURES, LEVELS, PATCH, ROWS, above_zero, count, within};
use serde::{Deserialize, Serialize};

/// A U-Net in the style of the papers' networks. On pixels it is diffusers' `UNet2DModel` with
/// FiLM, plus a stem that folds small patches into channels; with [`text`](Self::text) it is
/// diffusers' `UNet2DConditionModel`, the network of latent diffusion and Stable Diffusion. Either
/// may have an input for the guidance weight.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UNetConfig {
    /// Channels of the images (or latents).
    pub channels: usize,
    /// Channels of maps that are concatenated to the input after an image's own: 5 for inpainting,
    /// else 0.
    #[serde(default, skip_serializing_if = "is_default", alias = "beside")]
    pub concat: usize,
    /// Side of the patches that the stem folds into channels: 1 for none; 2 makes a 32x32 image
    /// 16x16.
    #[serde(default = "one")]
    pub patch: usize,
    /// Feature channels of each level; every level halves the resolution.
    pub widths: Vec<usize>,
    /// Residual blocks of each level of the down path (one more in the up path).
    pub blocks: usize,
    /// Whether each level has attention after its residual blocks.
    pub attention: Vec<bool>,
    /// Channels of one attention head.
    #[serde(default = "default_head")]
    pub head: usize,
    /// Number of attention heads of each level, instead of `head`; usually empty.
    #[serde(default, skip_serializing_if = "is_default")]
    pub heads: Vec<usize>,
    /// Whether there are blocks between encoder and decoder.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub middle: bool,
    /// Whether the middle has attention.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub middle_attention: bool,
    /// Attention to text, in transformer blocks; without it attention is only within the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<TextAttention>,
    /// Transformer layers of the attention to text of each level, where they are not one each;
    /// usually empty.
    #[serde(default, skip_serializing_if = "is_default")]
    pub depths: Vec<usize>,
    /// Input for a pooled prompt embedding and sizes (SDXL).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_time: Option<TextTime>,
    /// How time becomes features.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sinusoid: Sinusoid,
    /// How time enters the residual blocks.
    #[serde(default, skip_serializing_if = "is_default")]
    pub modulation: Modulation,
    /// Groups of each group normalisation.
    #[serde(default = "default_groups")]
    pub groups: usize,
    /// What each group normalisation adds to the variance.
    #[serde(
        default = "default_epsilon",
        skip_serializing_if = "is_default_epsilon"
    )]
    pub epsilon: f64,
    /// How resolution changes between levels.
    #[serde(default)]
    pub resampling: Resampling,
    /// Probability of dropout inside residual blocks while training.
    #[serde(default)]
    pub dropout: f64,
    /// Number of classes; 0 for an unconditional network.
    #[serde(default)]
    pub classes: usize,
    /// Whether one more embedding stands for "no class". Without it there is nothing to guide with.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub null_class: bool,
    /// Input for the guidance weight w; absent in a teacher.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub w: Option<WEmbedding>,
    /// Input for a control image.
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "adapter")]
    pub controlnet: Option<ControlNetConfig>,
    /// LoRA, separate from the weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraConfig>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
fn yes() -> bool {
    true
}
fn is_yes(value: &bool) -> bool {
    *value
}
fn default_epsilon() -> f64 {
    1e-5
}
fn is_default_epsilon(value: &f64) -> bool {
    *value == default_epsilon()
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
impl Default for UNetConfig {
    /// One level of 32 channels for images of one channel.
    fn default() -> Self {
        Self {
            channels: 1,
            concat: 0,
            patch: one(),
            widths: vec![32],
            blocks: 1,
            attention: vec![false],
            head: default_head(),
            heads: vec![],
            middle: true,
            middle_attention: true,
            text: None,
            depths: vec![],
            text_time: None,
            sinusoid: Sinusoid::default(),
            modulation: Modulation::default(),
            groups: default_groups(),
            epsilon: default_epsilon(),
            resampling: Resampling::default(),
            dropout: 0.0,
            classes: 0,
            null_class: true,
            w: None,
            controlnet: None,
            lora: None,
        }
    }
}

impl UNetConfig {
    /// Checks every number, and that they fit together.
    ///
    /// # Errors
    /// Names the field, what it is, and what it must be.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let error = |message: String| Err(ConfigError::new(message));
        if self.widths.is_empty() {
            return error(
                "`widths` is empty: give the feature channels of each level, such as [32, 64]"
                    .into(),
            );
        }
        self.check_numbers()?;
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
        if !self.heads.is_empty() && self.heads.len() != self.widths.len() {
            return error(format!(
                "`heads` has {} entries and `widths` has {}: give one number per level, or none",
                self.heads.len(),
                self.widths.len()
            ));
        }
        if !self.depths.is_empty() && self.depths.len() != self.widths.len() {
            return error(format!(
                "`depths` has {} entries and `widths` has {}: give one number per level, or none",
                self.depths.len(),
                self.widths.len()
            ));
        }
        if self.text.is_none() && (self.text_time.is_some() || !self.depths.is_empty()) {
            return error(
                "`text_time` and `depths` belong to networks that attend to text (`text`)".into(),
            );
        }
        for (level, width) in self.attended_levels() {
            let (name, divisor) = match self.heads.get(level) {
                Some(&heads) => ("heads", heads),
                None => ("head", self.head),
            };
            if divisor == 0 || width % divisor != 0 {
                return error(format!(
                    "attention at width {width} needs a multiple of `{name}` = {divisor}"
                ));
            }
        }
        Ok(())
    }

    /// Checks each number by itself.
    fn check_numbers(&self) -> Result<(), ConfigError> {
        count("widths", self.widths.len(), LEVELS)?;
        for width in &self.widths {
            count("widths", *width, FEATURES)?;
        }
        count("channels", self.channels, FEATURES)?;
        within("concat", self.concat, 0..=FEATURES)?;
        count("patch", self.patch, PATCH)?;
        count("blocks", self.blocks, BLOCKS)?;
        count("groups", self.groups, FEATURES)?;
        count("head", self.head, FEATURES)?;
        for heads in &self.heads {
            count("heads", *heads, FEATURES)?;
        }
        // The lowest frequency divides by the number of frequencies less the shift.
        let most = (self.widths[0] / 2).saturating_sub(1).min(1);
        within("sinusoid.shift", self.sinusoid.shift, 0..=most)?;
        within("classes", self.classes, 0..=ROWS)?;
        within("epsilon", self.epsilon, above_zero(1.0))?;
        within("dropout", self.dropout, 0.0..1.0)?;
        if let Some(text) = self.text {
            count("text.width", text.width, FEATURES)?;
        }
        for depth in &self.depths {
            count("depths", *depth, BLOCKS)?;
        }
        if let Some(text_time) = self.text_time {
            text_time.validate()?;
        }
        if let Some(controlnet) = &self.controlnet {
            controlnet.validate()?;
        }
        if let Some(lora) = &self.lora {
            lora.validate()?;
        }
        self.w.map_or(Ok(()), |w| w.validate("w"))
    }

    /// Checks that images of this size can go through all levels.
    ///
    /// # Errors
    /// When height or width is not a multiple of what folding and halving need.
    pub fn validate_size(&self, height: usize, width: usize) -> Result<(), ConfigError> {
        let multiple = self.size_multiple();
        if height.is_multiple_of(multiple) && width.is_multiple_of(multiple) {
            return Ok(());
        }
        Err(ConfigError::new(format!(
            "images of {height}x{width} do not fit: with `patch` = {} and {} levels, height and width must be multiples of {multiple}",
            self.patch,
            self.widths.len()
        )))
    }

    /// What height and width of images must be multiples of, for folding and halving.
    pub fn size_multiple(&self) -> usize {
        self.patch << (self.widths.len() - 1)
    }

    /// A ControlNet for control images `[channels, height, width]` and images `[_, height, width]`,
    /// whose stem follows from the ratio of their sizes.
    pub fn controlnet_for(
        &self,
        control: [usize; 3],
        image: [usize; 3],
        fusion: Fusion,
    ) -> ControlNetConfig {
        ControlNetConfig::for_control(control, image[1].div_ceil(self.patch), fusion)
    }

    /// The shape of the network in words: its levels, and the blocks of each.
    pub(crate) fn summary(&self) -> String {
        let levels: Vec<String> = std::iter::zip(&self.widths, &self.attention)
            .map(|(width, attention)| match attention {
                true => format!("{width} (attention)"),
                false => width.to_string(),
            })
            .collect();
        let folding = match self.patch {
            1 => String::new(),
            patch => format!(", patches of {patch}x{patch}"),
        };
        let plural = if self.blocks == 1 { "" } else { "s" };
        format!(
            "levels {}, {} residual block{plural} each{folding}",
            levels.join(" "),
            self.blocks
        )
    }

    /// What the residual blocks have in common.
    pub(crate) fn resnets(&self) -> ResnetOptions {
        ResnetOptions {
            groups: self.groups,
            epsilon: self.epsilon,
            embedding: Some((self.embedding_dim(), self.modulation)),
            dropout: self.dropout,
        }
    }

    /// How resolution changes, and the options of residual blocks that do it.
    pub(super) fn resampling(&self) -> (Resampling, ResnetOptions) {
        (self.resampling, self.resnets())
    }

    /// Size of the embedding of time, class and w.
    pub(crate) fn embedding_dim(&self) -> usize {
        4 * self.widths[0]
    }

    /// Number of attention heads of a level.
    pub fn heads_of(&self, level: usize) -> usize {
        let heads = self.heads.get(level).copied();
        heads.unwrap_or_else(|| self.widths[level] / self.head)
    }

    /// Number of transformer layers in the attention of a level.
    pub(crate) fn depth_of(&self, level: usize) -> usize {
        self.depths.get(level).copied().unwrap_or(1)
    }

    /// Rows of the table of classes.
    pub fn class_rows(&self) -> usize {
        self.classes + usize::from(self.null_class)
    }

    /// Width and level of each skip connection, in the order of the encoder.
    pub(crate) fn skips(&self) -> impl Iterator<Item = (usize, usize)> {
        let last = self.widths.len() - 1;
        let levels = self
            .widths
            .iter()
            .enumerate()
            .flat_map(move |(level, &width)| {
                let halved = (level < last).then_some((width, level + 1));
                std::iter::repeat_n((width, level), self.blocks).chain(halved)
            });
        std::iter::once((self.widths[0], 0)).chain(levels)
    }

    /// Levels with attention and their widths; the last one also stands for the middle.
    fn attended_levels(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let last = self.widths.len() - 1;
        let levels = self.widths.iter().copied().enumerate();
        let middle = move |level| self.middle && self.middle_attention && level == last;
        levels.filter(move |(level, _)| self.attention[*level] || middle(*level))
    }
}
