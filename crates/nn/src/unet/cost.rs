//! What a U-Net costs, from its configuration: the list of its stages, and what follows from it.

use super::UNetConfig;
use super::decoder::Decoder;
use super::encoder::Encoder;
use crate::controlnet::ControlNet;
use crate::train::cost::{self, AttentionTable, Counter, Stage, TrainedPart, Training};

impl UNetConfig {
    /// Numbers that one sample keeps for the backward pass when its forward pass is done.
    pub fn kept(&self, training: &Training) -> usize {
        cost::kept(&self.stages(training), training)
    }

    /// The same of its encoder where that is frozen and gradients only go through it, as in a
    /// discriminator.
    pub fn kept_by_frozen_encoder(&self, training: &Training) -> usize {
        let [height, width] = training.size;
        let positions = height * width / (self.patch * self.patch);
        let training = &Training {
            checkpointing: false,
            ..*training
        };
        let counter = Counter {
            training,
            lora: None,
            frozen: true,
        };
        cost::kept(&Encoder::cost(&counter, self, positions, false), training)
    }

    /// The most numbers that forward and backward pass of `samples` samples hold, among them the
    /// gradients of the parameters, and weights with LoRA. Parameters come on top.
    pub fn peak(&self, training: &Training, samples: usize) -> usize {
        cost::peak(&self.stages(training), training, samples)
    }

    /// The most numbers that a forward pass without graph holds for one sample.
    pub fn forward(&self, size: [usize; 2], states: usize) -> usize {
        cost::forward(&self.stages(&Training {
            size,
            states,
            ..Training::OF_PARAMETERS
        }))
    }

    /// Numbers that one sample's forward and backward pass come to hold where freed memory only
    /// serves tensors of the same size. Gradients of parameters come on top.
    pub fn pooled(&self, training: &Training) -> usize {
        cost::pooled(&self.stages(training), training)
    }

    /// The same of a forward pass without graph.
    pub fn pooled_forward(&self, size: [usize; 2], states: usize) -> usize {
        cost::pooled_forward(&self.stages(&Training {
            size,
            states,
            ..Training::OF_PARAMETERS
        }))
    }

    /// Gradients that a backward pass comes to hold where freed memory only serves tensors of the
    /// same size. Those of weights with LoRA are among them.
    pub fn pooled_gradients(&self, training: &Training) -> usize {
        cost::pooled_gradients(&self.stages(training), training)
    }

    /// Weights with LoRA that are kept for the backward pass.
    pub fn merged(&self, training: &Training) -> usize {
        cost::merged(&self.stages(training), training)
    }

    /// The most weights with LoRA that one block has.
    pub fn largest_merged(&self) -> usize {
        let stages = self.stages(&Training::OF_LORA).into_iter();
        stages.map(|stage| stage.gradients).max().unwrap_or(0)
    }

    /// Those of one block of every size.
    pub fn pooled_merged(&self) -> usize {
        let training = Training {
            checkpointing: true,
            ..Training::OF_LORA
        };
        self.pooled_gradients(&training)
    }

    /// The tables of scores of its attention, one of each size.
    pub fn attention_tables(&self, training: &Training) -> Vec<AttentionTable> {
        let [height, width] = training.size;
        let positions = height * width / (self.patch * self.patch);
        let last = self.widths.len() - 1;
        let has_any = |level: usize| {
            let middle = level == last && self.middle && self.middle_attention;
            self.attention[level] || middle
        };
        let levels = (0..=last).filter(|level| has_any(*level));
        let tables = levels.flat_map(|level| {
            let tokens = positions >> (2 * level);
            let text = self.text.map(|_| training.states);
            let contexts = std::iter::once(tokens).chain(text);
            contexts.map(move |context| AttentionTable {
                heads: self.heads_of(level),
                tokens,
                context,
            })
        });
        tables.collect()
    }

    /// The most numbers that a kernel works with besides its inputs and outputs: transformed
    /// weights of a convolution.
    pub fn workspace(&self) -> usize {
        let stages = self.stages(&Training::OF_PARAMETERS);
        let largest = stages.iter().map(|stage| stage.convolution).max();
        // 36 products instead of nine.
        (4 * largest.unwrap_or(0)).min(fewstep_kernels::memory::TRANSFORMED_KERNELS)
    }

    /// Number of parameters of the block that has the most.
    pub fn largest_block(&self) -> usize {
        let stages = self.stages(&Training::OF_PARAMETERS).into_iter();
        stages.map(|stage| stage.gradients).max().unwrap_or(0)
    }

    /// Number of parameters, with those of the ControlNet and without LoRA.
    #[cfg(test)]
    fn parameters(&self) -> usize {
        cost::gradients(&self.stages(&Training::OF_PARAMETERS))
    }

    /// The network from its input to its output, as far as gradients reach.
    fn stages(&self, training: &Training) -> Vec<Stage> {
        let [height, width] = training.size;
        let positions = height * width / (self.patch * self.patch);
        let base = &Counter {
            training,
            lora: self.lora.as_ref(),
            frozen: training.part == TrainedPart::ControlNet,
        };
        let mut stages = match base.frozen {
            true => vec![],
            false => Encoder::cost(base, self, positions, true),
        };
        if let Some(controlnet) = &self.controlnet {
            let own = &Counter {
                frozen: false,
                ..*base
            };
            // Where the base keeps nothing, the ControlNet's skips are those that the decoder
            // takes.
            let cost = ControlNet::cost(own, self, controlnet, positions, base.frozen);
            stages.extend(cost);
        }
        stages.extend(Decoder::cost(base, self, positions));
        stages
    }
}

/// Compared with real networks.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ControlNetConfig, Fusion, Modulation, Resampling};
    use crate::{TextAttention, TextTime, UNet, WEmbedding};
    use burn::module::Module;
    use burn::tensor::Device;

    fn config(widths: Vec<usize>) -> UNetConfig {
        let levels = widths.len();
        UNetConfig {
            widths,
            blocks: 1,
            attention: vec![false; levels],
            head: 8,
            groups: 4,
            ..UNetConfig::default()
        }
    }

    fn training(side: usize, part: TrainedPart) -> Training {
        Training {
            size: [side, side],
            states: 7,
            part,
            checkpointing: false,
        }
    }

    /// Every layer is in the list: the gradients are as many as the parameters, or as those that are
    /// no weights of convolutions.
    #[test]
    fn gradients_are_as_many_as_parameters() {
        let text = |linear| UNetConfig {
            text: Some(TextAttention { width: 12, linear }),
            concat: 5,
            modulation: Modulation::Add,
            attention: vec![true, false],
            blocks: 2,
            w: Some(WEmbedding { dim: 6, scale: 1.0 }),
            ..config(vec![16, 24])
        };
        let pixels = UNetConfig {
            patch: 2,
            classes: 3,
            attention: vec![false, true, false],
            resampling: Resampling::Block,
            ..config(vec![16, 32, 32])
        };
        let controlled = |fusion| UNetConfig {
            controlnet: Some(ControlNetConfig {
                channels: 2,
                stem: vec![8, 12, 20],
                fusion,
                unit: false,
            }),
            ..pixels.clone()
        };
        for config in [
            config(vec![8]),
            text(false),
            text(true),
            pixels.clone(),
            controlled(Fusion::ZeroConv),
            controlled(Fusion::Mix),
            UNetConfig {
                depths: vec![3, 2],
                text_time: Some(TextTime { pooled: 5, dim: 4 }),
                controlnet: controlled(Fusion::ZeroConv).controlnet,
                concat: 0,
                ..text(true)
            },
            UNetConfig {
                concat: 5,
                ..controlled(Fusion::ZeroConv)
            },
            UNetConfig {
                middle: false,
                ..text(true)
            },
            UNetConfig {
                middle: false,
                ..controlled(Fusion::Mix)
            },
            UNetConfig {
                middle_attention: false,
                null_class: false,
                resampling: Resampling::Corner,
                ..pixels.clone()
            },
        ] {
            let network = UNet::new(&config, 1, &Device::flex()).expect("valid");
            assert_eq!(config.parameters(), network.num_params(), "{config:?}");
            let training = Training {
                part: TrainedPart::AllButConvolutions,
                ..Training::OF_PARAMETERS
            };
            let convolutions: usize = network.convolution_weights().values().sum();
            let others = cost::gradients(&config.stages(&training));
            assert_eq!(others, network.num_params() - convolutions, "{config:?}");
            assert!(others > 0 && convolutions > 0);
        }
    }

    /// One level of 8 channels, counted by hand: stem 1; down 2 (8 + 8); middle 2 · 2 (8 + 8) + 6 ·
    /// 8; up 2 (16 + 8), twice; the last normalisation and convolution 2 · 8.
    #[test]
    fn one_level_counted_by_hand() {
        let per_position = 1 + 32 + 64 + 48 + 96 + 16;
        let config = config(vec![8]);
        let whole = config.kept(&training(4, TrainedPart::All));
        assert_eq!(whole, 16 * per_position);
        // Without their inputs, two of 8 channels for a block down or in the middle, 16 and 8 for one
        // up: the convolution of the first has 16 channels as its input.
        let others = config.kept(&training(4, TrainedPart::AllButConvolutions));
        assert_eq!(others, whole - 16 * (3 * (8 + 8) + 2 * (16 + 8)));
        // A ControlNet of its own size and one level: its stem 1 + 2 · 16 and the convolution
        // behind it 16, the encoder again, and the input of the middle's zero convolution.
        let controlled = UNetConfig {
            controlnet: Some(ControlNetConfig {
                channels: 1,
                stem: vec![16],
                fusion: Fusion::ZeroConv,
                unit: false,
            }),
            ..config
        };
        let encoder = 1 + 32 + 64 + 48;
        let all = controlled.kept(&training(4, TrainedPart::All));
        assert_eq!(all, whole + 16 * (33 + 16 + encoder + 8));
        // Nothing is kept for weights that are frozen: the base's first half goes, of its blocks
        // the inputs of the convolutions, and that of the last one.
        let controlnet = controlled.kept(&training(4, TrainedPart::ControlNet));
        assert_eq!(controlnet, all - 16 * (encoder + 48 + 8));
    }

    #[test]
    fn memory_grows_with_the_area_and_checkpointing_takes_less() {
        let config = config(vec![8, 16]);
        let of = |side| config.kept(&training(side, TrainedPart::All));
        assert_eq!(4 * of(8), of(16));
        let least = Training {
            checkpointing: true,
            ..training(16, TrainedPart::All)
        };
        assert!(2 * config.kept(&least) < of(16));
        assert!(config.peak(&least, 9) < config.peak(&training(16, TrainedPart::All), 9));
    }
}
