//! The recipe of a teacher.

use super::RunConfig;
use crate::error::RecipeError;
use crate::method::LossWeighting;
use crate::method::denoising::{DenoisingMethod, DenoisingStart};
use crate::optim::OptimConfig;
use crate::run::Phase;
use fewstep_data::{DataConfig, Examples, ImageShape};
use fewstep_diffusion::limits::{ROWS, UPDATES, probability, within};
use fewstep_diffusion::{
    Guidance, PredictionKind, Provenance, Role, SamplerRecipe, ScheduleConfig,
};
use fewstep_nn::{BackboneConfig, ConfigError, Modulation, Precision, TextAttention, UNetConfig};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;

/// How to train a teacher with classifier-free guidance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainRecipe {
    /// All randomness of the run.
    pub seed: u64,
    /// Updates in all.
    pub updates: u64,
    /// Probability that an example loses its label or its caption.
    #[serde(default = "default_label_dropout")]
    pub label_dropout: f64,
    /// Whether images are mirrored at random.
    #[serde(default)]
    pub flip: bool,
    /// What the network emits.
    #[serde(default = "default_prediction")]
    pub prediction: PredictionKind,
    /// Weight of the loss over noise levels; by default one that suits the prediction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weighting: Option<LossWeighting>,
    /// The training data.
    pub data: DataConfig,
    /// What turns captioned images into latents and states, for a text-to-image teacher.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<TextConfig>,
    /// The network. Its channels, its classes and the width of the texts follow from the data.
    pub network: NetworkConfig,
    /// The noise schedule.
    #[serde(default)]
    pub schedule: ScheduleConfig,
    /// How the parameters move.
    pub optim: OptimConfig,
    /// How the run reports and saves.
    #[serde(default)]
    pub run: RunConfig,
}

/// VAE and text encoder of a text-to-image network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextConfig {
    /// Folder of an autoencoder, in diffusers' layout, or of a model that has one (`vae/`), or the
    /// name of either on the hub.
    pub autoencoder: PathBuf,
    /// Folder of a text encoder and its tokenizer, in transformers' layout, or of a model that has
    /// both (`text_encoder/` and `tokenizer/`), or the name of either on the hub.
    pub encoder: PathBuf,
    /// Tokens of a text, start and end included; what is longer is cut off.
    pub length: usize,
    /// Prompts of sample grids; by default captions of the data.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prompts: Vec<String>,
}

/// A [`UNetConfig`] whose channels and classes come from the data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkConfig {
    /// Side of the patches that the stem folds into channels.
    #[serde(default = "one")]
    pub patch: usize,
    /// Feature channels of each level.
    pub widths: Vec<usize>,
    /// Residual blocks of each level.
    pub blocks: usize,
    /// Whether each level has attention.
    pub attention: Vec<bool>,
    /// Channels of one attention head.
    pub head: usize,
    /// Groups of each group normalisation.
    pub groups: usize,
    /// How resolution changes between levels.
    #[serde(default)]
    pub resampling: fewstep_nn::Resampling,
    /// Probability of dropout.
    #[serde(default)]
    pub dropout: f64,
}

impl NetworkConfig {
    /// The network for images or latents of so many channels, text states of so many features where
    /// there are texts, and so many classes.
    fn of(&self, channels: usize, text_width: Option<usize>, classes: usize) -> UNetConfig {
        let text = text_width.map(|width| TextAttention {
            width,
            linear: false,
        });
        UNetConfig {
            channels,
            modulation: match text {
                Some(_) => Modulation::Add,
                None => Modulation::Film,
            },
            text,
            patch: self.patch,
            widths: self.widths.clone(),
            blocks: self.blocks,
            attention: self.attention.clone(),
            head: self.head,
            groups: self.groups,
            resampling: self.resampling,
            dropout: self.dropout,
            classes,
            ..UNetConfig::default()
        }
    }

    /// Checks all that the data has no part in.
    fn validate(&self) -> Result<(), RecipeError> {
        let checked = self.of(1, None, 0).validate();
        checked.map_err(|error| RecipeError::new("network", error.to_string()))
    }
}

fn one() -> usize {
    1
}
fn default_label_dropout() -> f64 {
    0.1
}
fn default_prediction() -> PredictionKind {
    PredictionKind::V
}

impl TrainRecipe {
    /// Fills in what the recipe leaves to the program; for a run that is resumed, with what the
    /// recipe that it was started with has.
    pub fn complete(&mut self, started_with: Option<&Self>) {
        self.weighting = self
            .weighting
            .or_else(|| started_with.and_then(|started| started.weighting));
    }

    /// Checks all that can be checked without the data.
    ///
    /// # Errors
    /// Names the key, what it is, and what it must be.
    pub fn validate(&self) -> Result<(), RecipeError> {
        within("updates", self.updates, 1..=UPDATES)?;
        if let Some(text) = &self.text {
            // Start and end are two tokens.
            within("text.length", text.length, 3..=ROWS)?;
        }
        probability("label_dropout", self.label_dropout)?;
        self.network.validate()?;
        self.weighting
            .map_or(Ok(()), |weighting| weighting.check("weighting"))?;
        self.optim.validate().map_err(|e| e.within("optim"))?;
        self.run.validate()?;
        fewstep_diffusion::Schedule::new(self.schedule.clone())
            .map(drop)
            .map_err(|e| RecipeError::new("schedule", format!("[schedule] {e}")))
    }

    /// The single phase.
    pub fn phases(&self) -> Vec<Phase> {
        vec![Phase {
            name: "teacher".into(),
            method: Arc::new(DenoisingMethod {
                weighting: self.weighting,
                label_dropout: self.label_dropout,
                start: DenoisingStart::Scratch,
            }),
            lora: None,
            dropout: true,
            teacher_precision: Precision::default(),
            optim: self.optim.clone(),
            optim_key: "optim",
            updates: self.updates,
        }]
    }

    /// The network for the examples.
    ///
    /// # Errors
    /// As [`network_of`](Self::network_of).
    pub fn network_for(&self, examples: &Examples) -> Result<BackboneConfig, ConfigError> {
        let classes = examples.classes().len();
        self.network_of(examples.shape(), examples.text_width(), classes)
    }

    /// The network for images or latents of a shape, text states of so many features where there
    /// are texts, and so many classes. With texts it is one that diffusers knows too.
    ///
    /// # Errors
    /// When the network's numbers do not fit together or do not fit the images.
    pub fn network_of(
        &self,
        shape: ImageShape,
        text_width: Option<usize>,
        classes: usize,
    ) -> Result<BackboneConfig, ConfigError> {
        let network = self.network.of(shape.channels, text_width, classes);
        let config = BackboneConfig::from(network);
        config.validate()?;
        config.validate_size(shape.height, shape.width)?;
        Ok(config)
    }

    /// The sampler recipe of the teacher that comes out.
    pub fn sampler_recipe(&self, examples: &Examples) -> SamplerRecipe {
        let (shape, text) = (examples.shape(), examples.text_width().is_some());
        let labelled = text || !examples.classes().is_empty();
        SamplerRecipe {
            version: 1,
            role: Role::Teacher,
            prediction: self.prediction,
            schedule: self.schedule.clone(),
            guidance: match labelled && self.label_dropout > 0.0 {
                true => Guidance::ClassifierFree,
                false => Guidance::None,
            },
            image_guidance: None,
            resolution: [shape.channels, shape.height, shape.width],
            classes: examples.classes().to_vec(),
            // Latents have no range.
            clip: !text,
            clip_skip: 0,
            control: None,
            default_sampler: None,
            provenance: Provenance {
                method: "denoising".into(),
                ..Provenance::default()
            },
        }
    }
}
