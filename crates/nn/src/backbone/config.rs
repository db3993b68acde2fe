//! What a network of any kind is built from, and what it costs.

use crate::{
    AttentionTable, ConfigError, ControlNetConfig, ExtraInput, Fusion, Training, UNetConfig,
};
use serde::{Deserialize, Serialize};

/// What a [`Backbone`](super::Backbone) is built from. It is stored as the configuration of the network inside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, from = "UNetConfig")]
pub enum BackboneConfig {
    /// Of a [`UNet`](crate::UNet).
    UNet(UNetConfig),
}

impl From<UNetConfig> for BackboneConfig {
    fn from(config: UNetConfig) -> Self {
        Self::UNet(config)
    }
}

/// Facts of a network, and what it costs.
impl BackboneConfig {
    /// Checks that the numbers fit together.
    ///
    /// # Errors
    /// Names the field, what it is, and what it must be.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let Self::UNet(config) = self;
        config.validate()
    }

    /// Checks that images (or latents) of this size can go through the network.
    ///
    /// # Errors
    /// When height or width is not a multiple of [`size_multiple`](Self::size_multiple).
    pub fn validate_size(&self, height: usize, width: usize) -> Result<(), ConfigError> {
        let Self::UNet(config) = self;
        config.validate_size(height, width)
    }

    /// What height and width of images (or latents) must be multiples of.
    pub fn size_multiple(&self) -> usize {
        let Self::UNet(config) = self;
        config.size_multiple()
    }

    /// Channels of the images (or latents).
    pub fn channels(&self) -> usize {
        let Self::UNet(config) = self;
        config.channels
    }

    /// Channels of the maps that are concatenated to the input: 0 for none.
    pub fn concat_channels(&self) -> usize {
        let Self::UNet(config) = self;
        config.concat
    }

    /// What those maps are; none without.
    pub fn extra_input(&self) -> Option<ExtraInput> {
        let Self::UNet(config) = self;
        config.extra_input()
    }

    /// Whether they are an image to edit by instruction (InstructPix2Pix).
    pub fn sees_source(&self) -> bool {
        let Self::UNet(config) = self;
        config.sees_source()
    }

    /// Features of the text encoder's states, where the network attends to text.
    pub fn text_width(&self) -> Option<usize> {
        let Self::UNet(config) = self;
        config.text.map(|text| text.width)
    }

    /// Which layer of a CLIP text encoder it takes, from the last one, which is 1: SDXL's takes the one
    /// before it.
    pub fn usual_clip_layer(&self) -> usize {
        1 + usize::from(self.pooled_width().is_some())
    }

    /// Features of the pooled prompt embedding, where the network takes one (SDXL); it then takes
    /// time ids too.
    pub fn pooled_width(&self) -> Option<usize> {
        let Self::UNet(config) = self;
        config.text_time.map(|text_time| text_time.pooled)
    }

    /// Number of classes; 0 for a network without.
    pub fn classes(&self) -> usize {
        let Self::UNet(config) = self;
        config.classes
    }

    /// Whether one more class stands for "no class".
    pub fn has_null_class(&self) -> bool {
        let Self::UNet(config) = self;
        config.null_class
    }

    /// Whether the guidance weight is an input.
    pub fn takes_w(&self) -> bool {
        let Self::UNet(config) = self;
        config.w.is_some()
    }

    /// A ControlNet that fits; see [`UNetConfig::controlnet_for`].
    pub fn controlnet_for(
        &self,
        control: [usize; 3],
        image: [usize; 3],
        fusion: Fusion,
    ) -> ControlNetConfig {
        let Self::UNet(config) = self;
        config.controlnet_for(control, image, fusion)
    }

    /// The name of this kind of network.
    pub fn kind(&self) -> &'static str {
        let Self::UNet(_) = self;
        "U-Net"
    }

    /// The shape of the network in words.
    pub fn summary(&self) -> String {
        let Self::UNet(config) = self;
        config.summary()
    }

    /// Numbers that one sample keeps for the backward pass; see [`UNetConfig::kept`].
    pub fn kept(&self, training: &Training) -> usize {
        let Self::UNet(config) = self;
        config.kept(training)
    }

    /// The same of its encoder where it is frozen; see [`UNetConfig::kept_by_frozen_encoder`].
    pub fn kept_by_frozen_encoder(&self, training: &Training) -> usize {
        let Self::UNet(config) = self;
        config.kept_by_frozen_encoder(training)
    }

    /// The most numbers that both passes hold; see [`UNetConfig::peak`].
    pub fn peak(&self, training: &Training, samples: usize) -> usize {
        let Self::UNet(config) = self;
        config.peak(training, samples)
    }

    /// The most numbers that a forward pass without graph holds for one sample.
    pub fn forward(&self, size: [usize; 2], states: usize) -> usize {
        let Self::UNet(config) = self;
        config.forward(size, states)
    }

    /// What both passes come to hold, by sizes; see [`UNetConfig::pooled`].
    pub fn pooled(&self, training: &Training) -> usize {
        let Self::UNet(config) = self;
        config.pooled(training)
    }

    /// The same of a forward pass without graph.
    pub fn pooled_forward(&self, size: [usize; 2], states: usize) -> usize {
        let Self::UNet(config) = self;
        config.pooled_forward(size, states)
    }

    /// Gradients that a backward pass comes to hold, by sizes; see
    /// [`UNetConfig::pooled_gradients`].
    pub fn pooled_gradients(&self, training: &Training) -> usize {
        let Self::UNet(config) = self;
        config.pooled_gradients(training)
    }

    /// The tables of scores of its attention, one of each size.
    pub fn attention_tables(&self, training: &Training) -> Vec<AttentionTable> {
        let Self::UNet(config) = self;
        config.attention_tables(training)
    }

    /// Weights with LoRA that are kept for the backward pass.
    pub fn merged(&self, training: &Training) -> usize {
        let Self::UNet(config) = self;
        config.merged(training)
    }

    /// The most weights with LoRA that one block has.
    pub fn largest_merged(&self) -> usize {
        let Self::UNet(config) = self;
        config.largest_merged()
    }

    /// Those of one block of every size.
    pub fn pooled_merged(&self) -> usize {
        let Self::UNet(config) = self;
        config.pooled_merged()
    }

    /// The most numbers that a kernel works with besides; see [`UNetConfig::workspace`].
    pub fn workspace(&self) -> usize {
        let Self::UNet(config) = self;
        config.workspace()
    }

    /// Number of parameters of the block that has the most.
    pub fn largest_block(&self) -> usize {
        let Self::UNet(config) = self;
        config.largest_block()
    }
}
