//! From a control image of any size to the size of a network's first feature map.

use super::{ControlNetConfig, Fusion};
use crate::layers::ops::conv;
use crate::train::cost::{Counter, Stage};
use crate::train::init::Init;
use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::tensor::Tensor;
use burn::tensor::activation::silu;
use burn::tensor::module::interpolate;
use burn::tensor::ops::{InterpolateMode, InterpolateOptions};

/// 3x3 convolutions with SiLU between them, every second one halving the resolution (diffusers'
/// `ControlNetConditioningEmbedding`).
#[derive(Module, Debug)]
pub(super) struct Stem {
    conv_in: Conv2d,
    blocks: Vec<Conv2d>,
    conv_out: Conv2d,
}

impl Stem {
    /// The last convolution starts at zero where its output is added to features, and not where it
    /// is all that the encoder sees: nothing would come through to learn from.
    pub(super) fn new(init: &mut Init, config: &ControlNetConfig, to: usize) -> Self {
        let last = config.stem[config.stem.len() - 1];
        Self {
            conv_in: init.conv(config.channels, config.stem[0], 3, 1),
            blocks: config
                .stem
                .windows(2)
                .flat_map(|pair| {
                    [
                        init.conv(pair[0], pair[0], 3, 1),
                        init.conv(pair[0], pair[1], 3, 2),
                    ]
                })
                .collect(),
            conv_out: match config.fusion {
                Fusion::ZeroConv => init.zero_conv(last, to, 3),
                Fusion::Mix => init.conv(last, to, 3, 1),
            },
        }
    }

    /// # Shapes
    /// - `control`: `[batch, config.channels, any, any]`
    /// - output: `[batch, to, height, width]`
    pub(super) fn forward(&self, control: Tensor<4>, [height, width]: [usize; 2]) -> Tensor<4> {
        let ratio = 1 << (self.blocks.len() / 2);
        let control = resized(control, [height * ratio, width * ratio]);
        let layers = std::iter::once(&self.conv_in).chain(&self.blocks);
        let h = layers.fold(control, |h, layer| silu(conv(layer, h)));
        conv(&self.conv_out, h)
    }
}

impl Stem {
    /// Its cost: convolutions, two on a level that is halved, the last one with `to` channels at
    /// `positions` positions. SiLU is a product of its input and a sigmoid, which are both kept.
    pub(super) fn cost(
        counter: &Counter,
        config: &ControlNetConfig,
        to: usize,
        positions: usize,
    ) -> Vec<Stage> {
        let halvings = config.stem.len() - 1;
        let at = |level: usize| positions << (2 * (halvings - level));
        let mut stages = vec![];
        let mut from = config.channels;
        let mut layer = |to: usize, [before, after]: [usize; 2], silu: usize| {
            let conv = counter.weight("conv", 9 * from, to, to);
            let given = usize::from(stages.is_empty()) * conv.keeps(from * before);
            stages.push(Stage {
                kept: conv.keeps(from * before) + 2 * silu * to * after,
                kept_checkpointed: given + silu * to * after,
                working: 2 * to * after,
                forward: from * before + 2 * to * after,
                gradients: conv.gradients,
                ..Stage::default()
            });
            from = to;
        };
        for (level, &width) in config.stem.iter().enumerate() {
            match level {
                0 => layer(width, [at(0); 2], 1),
                _ => layer(width, [at(level - 1), at(level)], 1),
            }
            if level < halvings {
                layer(width, [at(level); 2], 1);
            }
        }
        layer(to, [positions; 2], 0);
        stages
    }
}

/// Bilinear, with pixel centres aligned; the image itself where it has the size already.
fn resized(image: Tensor<4>, size: [usize; 2]) -> Tensor<4> {
    let [_, _, height, width] = image.dims();
    if [height, width] == size {
        return image;
    }
    let options = InterpolateOptions::new(InterpolateMode::Bilinear)
        .with_align_corners(false)
        .with_output_size(size);
    interpolate(image, options)
}
