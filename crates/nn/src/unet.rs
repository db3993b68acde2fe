//! The U-Net.

use crate::attention::Attention;
use crate::block::{ResnetBlock, norm_silu};
use crate::embedding::{TimestepEmbedding, time_sinusoid, w_sinusoid};
use crate::init::Init;
use crate::resample::{Resample, conv, fold_patches, unfold_patches};
use crate::{ConfigError, UNetConfig};
use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::nn::{Embedding, GroupNorm};
use burn::tensor::{Device, Int, Tensor, TensorData};
use fewstep_diffusion::{Conditioning, Network};

/// The U-Net of [`UNetConfig`]; see there.
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
    #[module(skip)]
    config: UNetConfig,
}

#[derive(Module, Debug)]
struct DownBlock {
    resnets: Vec<ResnetBlock>,
    attentions: Vec<Attention>,
    downsamplers: Vec<Resample>,
}

#[derive(Module, Debug)]
struct MidBlock {
    resnets: Vec<ResnetBlock>,
    attentions: Vec<Attention>,
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
        let (first, last) = (config.widths[0], config.widths.len() - 1);
        let folded = config.channels * config.patch * config.patch;
        let embedding_dim = config.embedding_dim();
        // The w projection comes last, so that a student has its teacher's parameters under the same numbers.
        let mut skips = vec![first];
        Ok(Self {
            conv_in: init.conv(folded + config.beside, first, 3, 1),
            class_embedding: (config.classes > 0)
                .then(|| init.embedding(config.classes + 1, embedding_dim)),
            down_blocks: down_blocks(init, config, &mut skips),
            mid_block: MidBlock {
                resnets: (0..2)
                    .map(|_| {
                        let width = config.widths[last];
                        ResnetBlock::new(init, config.resnets(), width, width)
                    })
                    .collect(),
                attentions: vec![Attention::new(init, config, last)],
            },
            up_blocks: up_blocks(init, config, skips),
            conv_norm_out: init.group_norm(config.groups, first),
            conv_out: init.zero_conv(first, folded, 3),
            time_embedding: TimestepEmbedding::new(init, first, embedding_dim, config.w),
            config: config.clone(),
        })
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

    fn embed(&self, time: &[f64], conditioning: &Conditioning, device: &Device) -> Tensor<2> {
        let w = self.config.w.zip(conditioning.w.as_ref());
        let w = w.map(|(embedding, w)| w_sinusoid(w, embedding, device));
        let time = time_sinusoid(time, self.config.widths[0], device);
        let embedding = self.time_embedding.forward(time, w);
        let Some(table) = &self.class_embedding else {
            return embedding;
        };
        let null = self.config.classes as i32;
        let batch = embedding.dims()[0];
        let classes: Vec<i32> = match &conditioning.classes {
            Some(classes) => classes
                .iter()
                .map(|c| c.map_or(null, |c| c as i32))
                .collect(),
            None => vec![null; batch],
        };
        let classes = Tensor::<2, Int>::from_data(TensorData::new(classes, [batch, 1]), device);
        embedding + table.forward(classes).squeeze_dim::<2>(1)
    }
}

impl Network for UNet {
    fn forward(&self, z: Tensor<4>, time: &[f64], conditioning: &Conditioning) -> Tensor<4> {
        let embedding = &self.embed(time, conditioning, &z.device());
        let text = conditioning.text.as_ref().map(|text| &text.states);
        let mut input = vec![fold_patches(z, self.config.patch)];
        input.extend(conditioning.beside.clone());
        let mut h = conv(&self.conv_in, Tensor::cat(input, 1));
        let mut skips = vec![h.clone()];
        for block in &self.down_blocks {
            for (index, resnet) in block.resnets.iter().enumerate() {
                h = resnet.forward(h, Some(embedding));
                if let Some(attention) = block.attentions.get(index) {
                    h = attention.forward(h, text);
                }
                skips.push(h.clone());
            }
            for down in &block.downsamplers {
                h = down.down(h, embedding);
                skips.push(h.clone());
            }
        }
        h = self.mid_block.forward(h, embedding, text);
        for block in &self.up_blocks {
            for (index, resnet) in block.resnets.iter().enumerate() {
                let skip = skips
                    .pop()
                    .expect("one skip per residual block on the way up");
                h = resnet.forward(Tensor::cat(vec![h, skip], 1), Some(embedding));
                if let Some(attention) = block.attentions.get(index) {
                    h = attention.forward(h, text);
                }
            }
            for up in &block.upsamplers {
                h = up.up(h, embedding);
            }
        }
        let h = norm_silu(&self.conv_norm_out, h, None);
        unfold_patches(conv(&self.conv_out, h), self.config.patch)
    }

    fn draws(&self) -> bool {
        self.config.dropout > 0.0
    }
}

impl MidBlock {
    fn forward(&self, h: Tensor<4>, embedding: &Tensor<2>, text: Option<&Tensor<3>>) -> Tensor<4> {
        let h = self.resnets[0].forward(h, Some(embedding));
        let attentions = self.attentions.iter();
        let h = attentions.fold(h, |h, attention| attention.forward(h, text));
        self.resnets[1].forward(h, Some(embedding))
    }
}

fn attentions(init: &mut Init, config: &UNetConfig, level: usize, count: usize) -> Vec<Attention> {
    let count = if config.attention[level] { count } else { 0 };
    (0..count)
        .map(|_| Attention::new(init, config, level))
        .collect()
}

fn down_blocks(init: &mut Init, config: &UNetConfig, skips: &mut Vec<usize>) -> Vec<DownBlock> {
    let levels = config.widths.len();
    let mut width = config.widths[0];
    let mut blocks = Vec::with_capacity(levels);
    for (level, &to) in config.widths.iter().enumerate() {
        let mut resnets = Vec::with_capacity(config.blocks);
        for _ in 0..config.blocks {
            resnets.push(ResnetBlock::new(init, config.resnets(), width, to));
            width = to;
            skips.push(width);
        }
        let attentions = attentions(init, config, level, config.blocks);
        let mut downsamplers = vec![];
        if level + 1 < levels {
            downsamplers.push(Resample::new(init, config, width, 2));
            skips.push(width);
        }
        blocks.push(DownBlock {
            resnets,
            attentions,
            downsamplers,
        });
    }
    blocks
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
    use crate::{Resampling, WEmbedding};
    use burn::module::{ModuleMapper, Param};

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
        let conditioning = Conditioning {
            classes: Some(vec![Some(1), None]),
            w,
            ..Conditioning::default()
        };
        let output = network.forward(z, &[100.0, 900.0], &conditioning);
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
        let mut with_w = config();
        with_w.w = Some(WEmbedding {
            dim: 16,
            scale: 250.0,
        });
        let student = UNet::new(&with_w, 1, &Device::flex()).expect("valid");
        let record = teacher.map(&mut Shake).into_record();
        let student = student.load_record(record.allow_partial(true));
        let teacher = run(&student, None);
        for w in [0.0, 0.7, 4.0] {
            assert_eq!(run(&student, Some(vec![w; 2])), teacher);
        }
        assert!(teacher.iter().any(|&v| v != 0.0));
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
