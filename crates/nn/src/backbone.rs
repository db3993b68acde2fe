//! The network that predicts, of any kind: what code outside this crate knows of it.

use crate::train::weight_format::bytes;
use crate::{
    AttentionTable, ConfigError, ControlNet, ControlNetConfig, ExtraInput, Fusion, Initial, Lora,
    LoraConfig, LoraLayer, Precision, Training, UNet, UNetConfig, WEmbedding, WeightFormat,
};
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use fewstep_diffusion::{Inputs, Network};
use serde::{Deserialize, Serialize};

/// A network that predicts from noisy images. Its parameters are named as those of the network
/// inside.
#[derive(Module, Debug)]
pub enum Backbone {
    /// A U-Net, on pixels or latents.
    UNet(UNet),
}

/// What a [`Backbone`] is built from. It is stored as the configuration of the network inside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, from = "UNetConfig")]
pub enum BackboneConfig {
    /// Of a [`UNet`].
    UNet(UNetConfig),
}

impl From<UNet> for Backbone {
    fn from(network: UNet) -> Self {
        Self::UNet(network)
    }
}

impl From<UNetConfig> for BackboneConfig {
    fn from(config: UNetConfig) -> Self {
        Self::UNet(config)
    }
}

impl Network for Backbone {
    fn forward(&self, z: Tensor<4>, time: &[f64], inputs: &Inputs) -> Tensor<4> {
        let Self::UNet(network) = self;
        network.forward(z, time, inputs)
    }

    fn has_dropout(&self) -> bool {
        let Self::UNet(network) = self;
        network.has_dropout()
    }
}

impl Backbone {
    /// A new network with weights drawn from the seed. Its output starts at zero.
    ///
    /// # Errors
    /// When the configuration does not fit together.
    pub fn new(config: &BackboneConfig, seed: u64, device: &Device) -> Result<Self, ConfigError> {
        let BackboneConfig::UNet(config) = config;
        UNet::new(config, seed, device).map(Self::UNet)
    }

    /// What the network was built from.
    pub fn config(&self) -> BackboneConfig {
        let Self::UNet(network) = self;
        BackboneConfig::UNet(network.config().clone())
    }

    /// With new LoRA; see [`UNet::with_lora`].
    ///
    /// # Errors
    /// When the configuration does not fit together, or names no layer of the network.
    pub fn with_lora(self, config: &LoraConfig, seed: u64) -> Result<Self, ConfigError> {
        let Self::UNet(network) = self;
        network.with_lora(config, seed).map(Self::UNet)
    }

    /// The LoRA.
    pub fn lora(&self) -> Option<&Lora> {
        let Self::UNet(network) = self;
        network.lora()
    }

    /// With these values of its LoRA; see [`UNet::with_lora_layers`].
    pub fn with_lora_layers(self, layers: &[LoraLayer]) -> Self {
        let Self::UNet(network) = self;
        Self::UNet(network.with_lora_layers(layers))
    }

    /// With its LoRA in its weights; see [`UNet::merged`].
    pub fn merged(self) -> Self {
        let Self::UNet(network) = self;
        Self::UNet(network.merged())
    }

    /// Number of parameters that LoRA training moves; see [`UNet::num_lora_params`].
    pub fn num_lora_params(&self) -> usize {
        let Self::UNet(network) = self;
        network.num_lora_params()
    }

    /// With only LoRA and the input for w left to train; see [`UNet::freeze_all_but_lora`].
    pub fn freeze_all_but_lora(self) -> Self {
        let Self::UNet(network) = self;
        Self::UNet(network.freeze_all_but_lora())
    }

    /// With an input for w; see [`UNet::with_w_input`].
    pub fn with_w_input(self, embedding: WEmbedding) -> Self {
        let Self::UNet(network) = self;
        Self::UNet(network.with_w_input(embedding))
    }

    /// Without dropout; see [`UNet::without_dropout`].
    pub fn without_dropout(self) -> Self {
        let Self::UNet(network) = self;
        Self::UNet(network.without_dropout())
    }

    /// The projection of w; see [`UNet::w_projection`].
    pub fn w_projection(&self) -> Option<Tensor<2>> {
        let Self::UNet(network) = self;
        network.w_projection()
    }

    /// With these values of the projection of w; see [`UNet::with_w_projection`].
    pub fn with_w_projection(self, values: &[f32]) -> Self {
        let Self::UNet(network) = self;
        Self::UNet(network.with_w_projection(values))
    }

    /// For one w only; see [`UNet::with_fixed_w`].
    pub fn with_fixed_w(&self, w: f64) -> Self {
        let Self::UNet(network) = self;
        Self::UNet(network.with_fixed_w(w))
    }

    /// With a new ControlNet; see [`UNet::with_controlnet`].
    ///
    /// # Errors
    /// When the ControlNet's configuration does not fit together, or the network has a ControlNet
    /// already.
    pub fn with_controlnet(
        self,
        config: &ControlNetConfig,
        initial: Initial,
        seed: u64,
    ) -> Result<Self, ConfigError> {
        let Self::UNet(network) = self;
        network
            .with_controlnet(config, initial, seed)
            .map(Self::UNet)
    }

    /// With a trained ControlNet; see [`UNet::attach_controlnet`].
    ///
    /// # Errors
    /// When the ControlNet was made for a network of other shapes; names what differs.
    pub fn attach_controlnet(self, controlnet: ControlNet) -> Result<Self, ConfigError> {
        let Self::UNet(network) = self;
        network.attach_controlnet(controlnet).map(Self::UNet)
    }

    /// The ControlNet.
    pub fn controlnet(&self) -> Option<&ControlNet> {
        let Self::UNet(network) = self;
        network.controlnet()
    }

    /// Without its ControlNet.
    pub fn without_controlnet(self) -> Self {
        let Self::UNet(network) = self;
        Self::UNet(network.without_controlnet())
    }

    /// With only the ControlNet left to train; see [`UNet::freeze_base`].
    pub fn freeze_base(self) -> Self {
        let Self::UNet(network) = self;
        Self::UNet(network.freeze_base())
    }

    /// Computing in this type; see [`UNet::computing_in`].
    pub fn computing_in(self, precision: Precision) -> Self {
        let Self::UNet(network) = self;
        Self::UNet(network.computing_in(precision))
    }

    /// With `factor` times the weights of another network added to its own; see [`UNet::plus`].
    pub fn plus(self, other: &Self, factor: f64) -> Option<Self> {
        let (Self::UNet(network), Self::UNet(other)) = (self, other);
        network.plus(other, factor).map(Self::UNet)
    }

    /// For generating with weights of this format on a device: computing in it, or with its weights
    /// stored in it where the device computes in f32 only.
    pub fn generating_in(self, format: WeightFormat, device: &Device) -> Self {
        match format {
            WeightFormat::Floats(precision) if !format.is_only_stored(device) => {
                self.computing_in(precision)
            }
            _ => self.with_weight_format(format),
        }
    }

    /// Bytes of its parameters in memory.
    pub fn stored_bytes(&self) -> u64 {
        let Self::UNet(network) = self;
        bytes(network)
    }

    /// With its weights stored so; see [`UNet::with_weight_format`].
    pub fn with_weight_format(self, format: WeightFormat) -> Self {
        let Self::UNet(network) = self;
        Self::UNet(network.with_weight_format(format))
    }

    /// With its weights stored in this type; see [`UNet::with_weight_dtype`].
    pub fn with_weight_dtype(self, precision: Precision) -> Self {
        let Self::UNet(network) = self;
        Self::UNet(network.with_weight_dtype(precision))
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
