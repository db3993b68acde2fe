//! The same network in another form: with LoRA, an input for w or a ControlNet, frozen in part, in
//! another precision.

use super::UNet;
use super::decoder::UpBlock;
use super::encoder::{DownBlock, MidBlock};
use crate::controlnet::{ControlNet, ControlNetConfig, Initial};
use crate::error::ConfigError;
use crate::layers::embedding::{WEmbedding, w_sinusoid};
use crate::train::init::{Init, count};
use crate::train::precision::{Cast, Precision};
use crate::train::sum::plus;
use crate::train::weight_format::{Quantise, WeightFormat};
use crate::train::{Lora, LoraConfig, LoraLayer};
use burn::module::{Module, ModuleMapper};
use burn::tensor::Tensor;

impl UNet {
    /// The same network with new LoRA, which are zero at first, instead of any that it has.
    ///
    /// # Errors
    /// When the configuration does not fit together, or names no layer of the network.
    pub fn with_lora(mut self, config: &LoraConfig, seed: u64) -> Result<Self, ConfigError> {
        self.lora = None;
        let device = self.devices().into_iter().next().unwrap_or_default();
        let lora = Lora::new(&self, config, seed, &device)?;
        Ok(self.attach_lora(lora))
    }

    pub(crate) fn attach_lora(mut self, lora: Lora) -> Self {
        self.config.lora = Some(lora.config().clone());
        self.lora = Some(lora);
        self
    }

    /// The same network with these values of its LoRA: those of [`Lora::layers`], in that order.
    pub fn with_lora_layers(mut self, layers: &[LoraLayer]) -> Self {
        self.lora = self.lora.map(|lora| lora.with_layers(layers));
        self
    }

    /// The same network with an input for w whose projection is zero: the same output for every w.
    /// All its other parameters stay where they are.
    pub fn with_w_input(mut self, embedding: WEmbedding) -> Self {
        let device = self.devices().into_iter().next().unwrap_or_default();
        let first = self.config.widths[0];
        let controlnet = self.controlnet.take();
        // The number that the projection has in a network made with an input for w: the last.
        let others = self.clone().without_lora();
        let init = &mut Init::starting_at(1 + count(&others), 0, &device);
        self.time_embedding = self.time_embedding.with_w_input(init, first, embedding);
        self.controlnet = controlnet.map(|controlnet| controlnet.with_w_input(embedding));
        self.config.w = Some(embedding);
        self
    }

    fn without_lora(mut self) -> Self {
        self.config.lora = None;
        self.lora = None;
        self
    }

    /// The same network without dropout.
    pub fn without_dropout(mut self) -> Self {
        let (down_blocks, up_blocks) = (self.down_blocks.into_iter(), self.up_blocks.into_iter());
        self.down_blocks = down_blocks.map(DownBlock::without_dropout).collect();
        self.mid_block = self.mid_block.map(MidBlock::without_dropout);
        self.up_blocks = up_blocks.map(UpBlock::without_dropout).collect();
        self.controlnet = self.controlnet.map(ControlNet::without_dropout);
        self.config.dropout = 0.0;
        self
    }

    /// The same network with these values of its projection of w, `[from, w.dim]` row by row.
    pub fn with_w_projection(mut self, values: &[f32]) -> Self {
        self.time_embedding = self.time_embedding.with_w_projection(values);
        self
    }

    /// The same network with its LoRA in its weights.
    pub fn merged(mut self) -> Self {
        self.config.lora = None;
        match self.lora.take() {
            Some(lora) => lora.merge(self),
            None => self,
        }
    }

    /// The projection of w, `time_embedding.cond_proj`.
    pub fn w_projection(&self) -> Option<Tensor<2>> {
        self.time_embedding.w_projection()
    }

    /// Number of parameters that [`UNet::freeze_all_but_lora`] leaves to be trained.
    pub fn num_lora_params(&self) -> usize {
        let lora = self.lora.as_ref().map_or(0, Module::num_params);
        lora + self.w_projection().map_or(0, |w| w.shape().num_elements())
    }

    /// Only the LoRA and the input for w remain to be trained.
    pub fn freeze_all_but_lora(self) -> Self {
        let lora = self.lora.clone();
        let time_embedding = self.time_embedding.clone();
        let mut frozen = self.freeze();
        frozen.time_embedding = frozen.time_embedding.with_w_of(time_embedding);
        Self { lora, ..frozen }
    }

    /// The same network for one w only, without the input for it.
    pub fn with_fixed_w(&self, w: f64) -> Self {
        let mut network = self.clone();
        if let Some(embedding) = network.config.w.take() {
            let w = w_sinusoid(&[w], embedding, &self.conv_in.weight.val().device());
            network.time_embedding = network.time_embedding.with_fixed_w(w);
        }
        network
    }

    /// The same network with a new ControlNet. It changes no output at first, for any control
    /// image.
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
        config.validate()?;
        if self.controlnet.is_some() {
            return Err(ConfigError::new("there is a ControlNet already".into()));
        }
        let device = self.devices().into_iter().next().unwrap_or_default();
        let controlnet = ControlNet::new(&self.config, config, seed, &device);
        let controlnet = match initial {
            Initial::Base => controlnet.copy_of(self.encoder()),
            Initial::Random => controlnet,
        };
        self.attach_controlnet(controlnet)
    }

    /// The same network with a ControlNet that was trained on this or another base, instead of any
    /// that it has.
    ///
    /// # Errors
    /// When the ControlNet was made for a network of other shapes; names what differs.
    pub fn attach_controlnet(mut self, controlnet: ControlNet) -> Result<Self, ConfigError> {
        controlnet.check_base(&self.config)?;
        self.config.controlnet = Some(controlnet.config().clone());
        self.controlnet = Some(controlnet);
        Ok(self)
    }

    /// The network without its ControlNet.
    pub fn without_controlnet(mut self) -> Self {
        self.config.controlnet = None;
        self.controlnet = None;
        self
    }

    /// Only the ControlNet remains to be trained: no other parameter gets a gradient.
    pub fn freeze_base(self) -> Self {
        let controlnet = self.controlnet.clone();
        Self {
            controlnet,
            ..self.freeze()
        }
    }

    /// The same network computing in this type: products, convolutions and attention with sums in
    /// f32, and the maps between them stored in it. Parameters stay as they are, and so do input,
    /// output and their gradients; time and normalisation are computed in f32.
    pub fn computing_in(mut self, precision: Precision) -> Self {
        self.compute = precision;
        self
    }

    /// The same network with the weights of its blocks stored in this type. It can be called, and LoRA
    /// of it can be trained; its weights are not for training. They are upcast where they are used,
    /// unless the network computes in the type that they are stored in. A tensor with values too large
    /// for f16 stays as it is.
    pub fn with_weight_dtype(self, precision: Precision) -> Self {
        match precision {
            Precision::F32 => self,
            Precision::Bf16 | Precision::F16 => self.map_blocks(&mut Cast(precision.dtype())),
        }
    }

    /// The same network with the weights of its blocks stored so, for generating; see
    /// [`UNet::with_weight_dtype`]. Nothing can be added to blocks of whole numbers, so LoRA are added
    /// before.
    pub fn with_weight_format(self, format: WeightFormat) -> Self {
        match format {
            WeightFormat::Floats(precision) => self.with_weight_dtype(precision),
            WeightFormat::Q8_0 => self.merged().map_blocks(&mut Quantise),
        }
    }

    /// The same network with `factor` times the weights of another one added to its own; the other's
    /// LoRA do not count. What the other does not have, such as an input for w, stays. None where it
    /// has a layer that this one does not have, or of another shape.
    pub fn plus(self, other: &Self, factor: f64) -> Option<Self> {
        plus(self, &other.clone().without_lora(), factor)
    }

    /// Changes the parameters of all blocks, those of the ControlNet included.
    pub(super) fn map_blocks(self, mapper: &mut impl ModuleMapper) -> Self {
        Self {
            down_blocks: self.down_blocks.map(mapper),
            mid_block: self.mid_block.map(|block| block.map(mapper)),
            up_blocks: self.up_blocks.map(mapper),
            controlnet: self
                .controlnet
                .map(|controlnet| controlnet.map_blocks(mapper)),
            ..self
        }
    }
}
