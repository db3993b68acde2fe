//! The U-Net.

mod attention;
mod config;
mod cost;
pub(crate) mod encoder;
mod transformer;

pub use config::{
    ConfigError, Modulation, Resampling, Sinusoid, TextAttention, UNetConfig, WEmbedding,
};
pub use cost::{TrainedPart, Training};

use crate::controlnet::{ControlNet, Initial};
use crate::layers::block::{ResnetBlock, norm_silu};
use crate::layers::embedding::{TimestepEmbedding, w_sinusoid};
use crate::layers::resample::{Resample, conv, unfold_patches};
use crate::train::init::{Init, count};
use crate::{ControlNetConfig, Lora, LoraConfig, LoraLayer, Precision};
use attention::Attention;
use burn::module::{Module, ModuleMapper};
use burn::nn::conv::Conv2d;
use burn::nn::{Embedding, GroupNorm};
use burn::tensor::{Device, FloatDType, Tensor};
use encoder::{DownBlock, Encoder, MidBlock, attentions, down_blocks};
use fewstep_diffusion::{Inputs, Network};
use fewstep_kernels::maps;

/// The U-Net of [`UNetConfig`]; see there. With a [`ControlNet`] it takes a control image too.
#[derive(Module, Debug)]
pub struct UNet {
    conv_in: Conv2d,
    time_embedding: TimestepEmbedding,
    class_embedding: Option<Embedding>,
    down_blocks: Vec<DownBlock>,
    mid_block: MidBlock,
    up_blocks: Vec<UpBlock>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
    controlnet: Option<ControlNet>,
    lora: Option<Lora>,
    #[module(skip)]
    config: UNetConfig,
    /// The type of the maps between layers.
    #[module(skip)]
    pub(crate) compute: Precision,
}

#[derive(Module, Debug)]
struct UpBlock {
    resnets: Vec<ResnetBlock>,
    attentions: Vec<Attention>,
    upsamplers: Vec<Resample>,
}

impl UNet {
    /// A new network with weights drawn from the seed. Its output starts at zero.
    ///
    /// # Errors
    /// When the configuration does not fit together.
    pub fn new(config: &UNetConfig, seed: u64, device: &Device) -> Result<Self, ConfigError> {
        config.validate()?;
        let init = &mut Init::new(seed, device);
        let first = config.widths[0];
        let folded = config.channels * config.patch * config.patch;
        let embedding_dim = config.embedding_dim();
        // The w projection comes last, so that a student has its teacher's parameters under the same numbers.
        let mut skips = vec![first];
        let network = Self {
            conv_in: init.conv(folded + config.concat, first, 3, 1),
            class_embedding: (config.classes > 0)
                .then(|| init.embedding(config.class_rows(), embedding_dim)),
            down_blocks: down_blocks(init, config, &mut skips),
            mid_block: MidBlock::new(init, config),
            up_blocks: up_blocks(init, config, skips),
            conv_norm_out: init.group_norm_with(config.groups, first, config.epsilon),
            conv_out: init.zero_conv(first, folded, 3),
            time_embedding: TimestepEmbedding::new(init, first, embedding_dim, config.w),
            controlnet: config
                .controlnet
                .as_ref()
                .map(|controlnet| ControlNet::new(config, controlnet, seed, device)),
            lora: None,
            compute: Precision::F32,
            config: UNetConfig {
                lora: None,
                ..config.clone()
            },
        };
        match &config.lora {
            Some(lora) => network.with_lora(lora, seed),
            None => Ok(network),
        }
    }

    /// The same network with LoRA that are zero as yet; in place of its own where it has such.
    ///
    /// # Errors
    /// When the configuration does not fit together, or names no layer of the network.
    pub fn with_lora(mut self, config: &LoraConfig, seed: u64) -> Result<Self, ConfigError> {
        self.lora = None;
        let device = self.devices().into_iter().next().unwrap_or_default();
        let lora = Lora::new(&self, config, seed, &device)?;
        Ok(self.attach(lora))
    }

    pub(crate) fn attach(mut self, lora: Lora) -> Self {
        self.config.lora = Some(lora.config().clone());
        self.lora = Some(lora);
        self
    }

    /// The LoRA.
    pub fn lora(&self) -> Option<&Lora> {
        self.lora.as_ref()
    }

    /// The same network with these values of its LoRA: those of [`Lora::layers`], in that order.
    pub fn with_lora_layers(mut self, layers: &[LoraLayer]) -> Self {
        self.lora = self.lora.map(|lora| lora.with_layers(layers));
        self
    }

    /// The same network with an input for w whose projection is zero: the same output for every w. All its other parameters
    /// stay where they are.
    pub fn with_w_input(mut self, embedding: WEmbedding) -> Self {
        let device = self.devices().into_iter().next().unwrap_or_default();
        let first = self.config.widths[0];
        let controlnet = self.controlnet.take();
        // The number that a network made with such an input gives its projection: the last.
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

    /// What the network was built from.
    pub fn config(&self) -> &UNetConfig {
        &self.config
    }

    /// The same network for one w alone, without the input for it.
    pub fn with_fixed_w(&self, w: f64) -> Self {
        let mut network = self.clone();
        if let Some(embedding) = network.config.w.take() {
            let w = w_sinusoid(&[w], embedding, &self.conv_in.weight.val().device());
            network.time_embedding = network.time_embedding.with_fixed_w(w);
        }
        network
    }

    /// The same network with a new ControlNet, whose output is that of the network alone for any condition.
    ///
    /// # Errors
    /// When the ControlNet's configuration does not fit together, or the network has a ControlNet already.
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
            Initial::Base => controlnet.copy_of(&self),
            Initial::Random => controlnet,
        };
        self.plug(controlnet)
    }

    /// The same network with a ControlNet that was trained on this or another base; in place of its own where it
    /// has one.
    ///
    /// # Errors
    /// When the ControlNet was made for a network of other shapes; names what differs.
    pub fn plug(mut self, controlnet: ControlNet) -> Result<Self, ConfigError> {
        controlnet.check_base(&self.config)?;
        self.config.controlnet = Some(controlnet.config().clone());
        self.controlnet = Some(controlnet);
        Ok(self)
    }

    /// The ControlNet.
    pub fn controlnet(&self) -> Option<&ControlNet> {
        self.controlnet.as_ref()
    }

    /// The network alone.
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

    /// Changes the parameters of all blocks, those of the ControlNet included.
    pub(crate) fn map_blocks(self, mapper: &mut impl ModuleMapper) -> Self {
        Self {
            down_blocks: self.down_blocks.map(mapper),
            mid_block: self.mid_block.map(mapper),
            up_blocks: self.up_blocks.map(mapper),
            controlnet: self
                .controlnet
                .map(|controlnet| controlnet.map_blocks(mapper)),
            ..self
        }
    }

    pub(crate) fn encoder(&self) -> Encoder<'_> {
        Encoder {
            conv_in: &self.conv_in,
            time_embedding: &self.time_embedding,
            class_embedding: self.class_embedding.as_ref(),
            down_blocks: &self.down_blocks,
            mid_block: &self.mid_block,
            config: &self.config,
        }
    }
}

impl Network for UNet {
    fn forward(&self, z: Tensor<4>, time: &[f64], inputs: &Inputs) -> Tensor<4> {
        if self.lora.is_some() {
            return self.clone().merged().forward(z, time, inputs);
        }
        let z = z.cast(self.compute.dtype());
        let inputs = &inputs.clone().cast(self.compute.dtype());
        let encoder = self.encoder();
        let embedding = &encoder.embed(time, inputs, &z.device());
        let text = inputs.prompt.as_ref().map(|prompt| &prompt.cond);
        let stem = encoder.stem(z.clone(), inputs.concat.clone());
        let mut features = encoder.look(stem, embedding, text);
        if let Some((controlnet, control)) = self.controlnet.as_ref().zip(inputs.control.as_ref()) {
            features = controlnet.fuse(features, z, control.clone(), time, inputs);
        }
        let (mut h, mut skips) = (features.middle, features.skips);
        for block in &self.up_blocks {
            for (index, resnet) in block.resnets.iter().enumerate() {
                let skip = skips
                    .pop()
                    .expect("one skip per residual block on the way up");
                h = resnet.forward(maps::concat(vec![h, skip]), Some(embedding));
                if let Some(attention) = block.attentions.get(index) {
                    h = attention.forward(h, text);
                }
            }
            for up in &block.upsamplers {
                h = up.up(h, embedding);
            }
        }
        let h = norm_silu(&self.conv_norm_out, h, None);
        let output = unfold_patches(conv(&self.conv_out, h), self.config.patch);
        output.cast(FloatDType::F32)
    }

    fn has_dropout(&self) -> bool {
        self.config.dropout > 0.0
    }
}

fn up_blocks(init: &mut Init, config: &UNetConfig, mut skips: Vec<usize>) -> Vec<UpBlock> {
    let levels = config.widths.len();
    let mut width = config.widths[levels - 1];
    let mut blocks = Vec::with_capacity(levels);
    for level in (0..levels).rev() {
        let to = config.widths[level];
        let mut resnets = Vec::with_capacity(config.blocks + 1);
        for _ in 0..=config.blocks {
            let skip = skips
                .pop()
                .expect("one skip per residual block on the way up");
            resnets.push(ResnetBlock::new(init, config.resnets(), width + skip, to));
            width = to;
        }
        let attentions = attentions(init, config, level, config.blocks + 1);
        let upsamplers = (level > 0).then(|| Resample::new(init, config, width, 1));
        blocks.push(UpBlock {
            resnets,
            attentions,
            upsamplers: upsamplers.into_iter().collect(),
        });
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Fusion, Resampling};
    use burn::module::{Param, list_param_ids};

    fn config() -> UNetConfig {
        UNetConfig {
            channels: 1,
            patch: 2,
            widths: vec![16, 32],
            blocks: 1,
            attention: vec![false, true],
            head: 16,
            groups: 8,
            resampling: Resampling::Conv,
            dropout: 0.0,
            classes: 3,
            ..UNetConfig::default()
        }
    }

    /// Makes every zero-initialised weight count, so that a comparison of outputs means something.
    struct Shake;
    impl ModuleMapper for Shake {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|t| t + 0.01)
        }
    }

    fn run(network: &UNet, w: Option<Vec<f64>>) -> Vec<f32> {
        let z = fewstep_diffusion::random::normal(
            5,
            &[0, 1],
            fewstep_diffusion::random::Purpose::InitialNoise,
            [1, 16, 16],
            &Device::flex(),
        );
        let inputs = Inputs {
            classes: Some(vec![Some(1), None]),
            w,
            ..Inputs::default()
        };
        let output = network.forward(z, &[100.0, 900.0], &inputs);
        assert_eq!(output.dims(), [2, 1, 16, 16]);
        output.into_data().try_to_vec().expect("f32 data")
    }

    #[test]
    fn a_new_network_predicts_zero() {
        let network = UNet::new(&config(), 1, &Device::flex()).expect("valid");
        assert!(run(&network, None).iter().all(|&v| v == 0.0));
    }

    #[test]
    fn both_resamplings_keep_the_shape() {
        for resampling in [Resampling::Conv, Resampling::Block] {
            let config = UNetConfig {
                resampling,
                ..config()
            };
            let network = UNet::new(&config, 1, &Device::flex())
                .expect("valid")
                .map(&mut Shake);
            assert!(run(&network, None).iter().any(|&v| v != 0.0));
        }
    }

    /// With its projection at zero, a w-conditioned student equals its teacher for every w.
    #[test]
    fn a_fresh_w_input_changes_nothing() {
        let teacher = UNet::new(&config(), 1, &Device::flex()).expect("valid");
        let controlnet = ControlNetConfig::for_control([1; 3], [1; 3], &config(), Fusion::ZeroConv);
        let teacher = teacher.with_controlnet(&controlnet, Initial::Base, 2);
        let teacher = teacher.expect("fits").map(&mut Shake);
        let embedding = WEmbedding {
            dim: 16,
            scale: 250.0,
        };
        let student = teacher.clone().with_w_input(embedding);
        let teacher = run(&teacher, None);
        for w in [0.0, 0.7, 4.0] {
            assert_eq!(run(&student, Some(vec![w; 2])), teacher);
        }
        assert!(teacher.iter().any(|&v| v != 0.0));
        // Its parameters have the numbers that they have when it is read from a file.
        let read = UNet::new(student.config(), 1, &Device::flex()).expect("valid");
        assert_eq!(list_param_ids(&student), list_param_ids(&read));
    }

    #[test]
    fn a_fixed_w_gives_what_the_input_gives() {
        let config = UNetConfig {
            w: Some(WEmbedding {
                dim: 16,
                scale: 250.0,
            }),
            ..config()
        };
        let student = UNet::new(&config, 1, &Device::flex()).expect("valid");
        let student = student.map(&mut Shake);
        let [low, high] = [0.0, 6.5].map(|w| run(&student, Some(vec![w; 2])));
        assert_ne!(low, high);
        let fixed = student.with_fixed_w(6.5);
        assert_eq!(fixed.config().w, None);
        assert_eq!(fixed.num_params() + 16 * 16, student.num_params());
        for (fixed, input) in run(&fixed, None).into_iter().zip(high) {
            assert!((fixed - input).abs() < 1e-5, "{fixed} for {input}");
        }
    }

    #[test]
    fn initial_weights_are_a_function_of_the_seed() {
        let weights = |seed| {
            let network = UNet::new(&config(), seed, &Device::flex()).expect("valid");
            let weight = network.conv_in.weight.val();
            weight.into_data().try_to_vec::<f32>().expect("f32 data")
        };
        assert_eq!(weights(3), weights(3));
        assert_ne!(weights(3), weights(4));
    }

    #[test]
    fn numbers_that_do_not_fit_are_named() {
        let mut wrong = config();
        wrong.attention = vec![true];
        let message = UNet::new(&wrong, 1, &Device::flex())
            .expect_err("refused")
            .to_string();
        assert!(message.contains("attention"), "{message}");
        assert!(config().validate_size(30, 32).is_err());
    }
}
