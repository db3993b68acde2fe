//! The network that predicts, of any kind: what code outside this crate knows of it.

mod config;

pub use config::BackboneConfig;

use crate::train::weight_format::bytes;
use crate::{
    ConfigError, ControlNet, ControlNetConfig, Initial, Lora, LoraConfig, LoraLayer, Precision,
    UNet, WEmbedding, WeightFormat,
};
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use fewstep_diffusion::{Inputs, Network};

/// A network that predicts from noisy images. Its parameters are named as those of the network
/// inside.
#[derive(Module, Debug)]
pub enum Backbone {
    /// A U-Net, on pixels or latents.
    UNet(UNet),
}

impl From<UNet> for Backbone {
    fn from(network: UNet) -> Self {
        Self::UNet(network)
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
