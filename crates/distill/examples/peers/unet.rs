//! A diffusion U-Net with residual blocks, time embedding, and attention on the lowest level: the
//! same network as in `tools/peers/worker.py`.

use crate::implementation::Implementation;
use burn::module::{Module, Param};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::ops::{InterpolateMode, InterpolateOptions};
use burn::tensor::{Device, Distribution, Tensor, activation, module};
use serde::Deserialize;

/// Heads of every attention.
const HEADS: usize = 4;
/// Width of the time embedding.
const EMBEDDING: usize = 256;

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Config {
    /// Channels of the image.
    pub(crate) channels: usize,
    base: usize,
    /// Channels of each level, in multiples of the base.
    multiples: Vec<usize>,
    /// Residual blocks per level.
    blocks: usize,
    groups: usize,
}

#[derive(Module, Debug)]
struct Conv {
    weight: Param<Tensor<4>>,
    bias: Param<Tensor<1>>,
    #[module(skip)]
    stride: usize,
    #[module(skip)]
    implementation: Implementation,
}

impl Conv {
    fn new(
        channels: [usize; 2],
        kernel: usize,
        stride: usize,
        implementation: Implementation,
        device: &Device,
    ) -> Self {
        let [from, to] = channels;
        let deviation = 1.0 / ((from * kernel * kernel) as f64).sqrt();
        let normal = Distribution::Normal(0.0, deviation);
        Self {
            weight: Param::from_tensor(Tensor::random([to, from, kernel, kernel], normal, device)),
            bias: Param::from_tensor(Tensor::zeros([to], device)),
            stride,
            implementation,
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.implementation
            .conv2d(x, self.weight.val(), Some(self.bias.val()), self.stride)
    }
}

#[derive(Module, Debug)]
struct Norm {
    gamma: Param<Tensor<1>>,
    beta: Param<Tensor<1>>,
    #[module(skip)]
    groups: usize,
    #[module(skip)]
    silu: bool,
    #[module(skip)]
    implementation: Implementation,
}

impl Norm {
    fn new(
        channels: usize,
        groups: usize,
        silu: bool,
        implementation: Implementation,
        device: &Device,
    ) -> Self {
        Self {
            gamma: Param::from_tensor(Tensor::ones([channels], device)),
            beta: Param::from_tensor(Tensor::zeros([channels], device)),
            groups,
            silu,
            implementation,
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let (gamma, beta) = (self.gamma.val(), self.beta.val());
        self.implementation
            .group_norm(x, gamma, beta, self.groups, self.silu)
    }
}

#[derive(Module, Debug)]
struct Residual {
    norms: [Norm; 2],
    convs: [Conv; 2],
    time: Linear,
    skip: Option<Conv>,
}

impl Residual {
    fn new(from: usize, to: usize, groups: usize, i: Implementation, device: &Device) -> Self {
        Self {
            norms: [
                Norm::new(from, groups, true, i, device),
                Norm::new(to, groups, true, i, device),
            ],
            convs: [
                Conv::new([from, to], 3, 1, i, device),
                Conv::new([to, to], 3, 1, i, device),
            ],
            time: LinearConfig::new(EMBEDDING, to).init(device),
            skip: (from != to).then(|| Conv::new([from, to], 1, 1, i, device)),
        }
    }

    fn forward(&self, x: Tensor<4>, time: Tensor<2>) -> Tensor<4> {
        let h = self.convs[0].forward(self.norms[0].forward(x.clone()));
        let h = h + self
            .time
            .forward(activation::silu(time))
            .unsqueeze_dims::<4>(&[2, 3]);
        let h = self.convs[1].forward(self.norms[1].forward(h));
        h + match &self.skip {
            Some(skip) => skip.forward(x),
            None => x,
        }
    }
}

#[derive(Module, Debug)]
struct SelfAttention {
    norm: Norm,
    qkv: Linear,
    out: Linear,
}

impl SelfAttention {
    fn new(channels: usize, groups: usize, i: Implementation, device: &Device) -> Self {
        Self {
            norm: Norm::new(channels, groups, false, i, device),
            qkv: LinearConfig::new(channels, 3 * channels).init(device),
            out: LinearConfig::new(channels, channels).init(device),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [batch, channels, height, width] = x.dims();
        let tokens = self
            .norm
            .forward(x.clone())
            .reshape([batch, channels, height * width]);
        let qkv = self.qkv.forward(tokens.swap_dims(1, 2));
        let qkv = qkv.reshape([batch, height * width, 3, HEADS, channels / HEADS]);
        let qkv = qkv.permute([2, 0, 3, 1, 4]);
        let part = |at: usize| qkv.clone().narrow(0, at, 1).squeeze_dim::<4>(0);
        let y = self
            .norm
            .implementation
            .attention(part(0), part(1), part(2));
        let y = self
            .out
            .forward(y.swap_dims(1, 2).reshape([batch, height * width, channels]));
        x + y.swap_dims(1, 2).reshape([batch, channels, height, width])
    }
}

/// A residual block, with attention after it on the lowest level.
#[derive(Module, Debug)]
struct Block {
    residual: Residual,
    attention: Option<SelfAttention>,
}

impl Block {
    fn forward(&self, x: Tensor<4>, time: Tensor<2>) -> Tensor<4> {
        let h = self.residual.forward(x, time);
        match &self.attention {
            Some(attention) => attention.forward(h),
            None => h,
        }
    }
}

/// The blocks of one resolution, and the change to the next.
#[derive(Module, Debug)]
struct Level {
    blocks: Vec<Block>,
    change: Option<Conv>,
}

#[derive(Module, Debug)]
pub(crate) struct UNet {
    time: [Linear; 2],
    enter: Conv,
    down: Vec<Level>,
    middle: [Block; 2],
    up: Vec<Level>,
    norm: Norm,
    leave: Conv,
    #[module(skip)]
    base: usize,
}

impl UNet {
    pub(crate) fn new(config: &Config, i: Implementation, device: &Device) -> Self {
        let Config {
            channels: image,
            base,
            ref multiples,
            blocks,
            groups,
        } = *config;
        let last = multiples.len() - 1;
        let block = |from, to, attends: bool| Block {
            residual: Residual::new(from, to, groups, i, device),
            attention: attends.then(|| SelfAttention::new(to, groups, i, device)),
        };
        let (mut kept, mut channels) = (vec![base], base);
        let down = multiples.iter().enumerate().map(|(level, multiple)| {
            let blocks = (0..blocks).map(|_| {
                let from = std::mem::replace(&mut channels, base * multiple);
                kept.push(channels);
                block(from, channels, level == last)
            });
            let blocks = blocks.collect();
            let change = (level < last).then(|| Conv::new([channels, channels], 3, 2, i, device));
            kept.extend(change.is_some().then_some(channels));
            Level { blocks, change }
        });
        let down = down.collect();
        let middle = [
            block(channels, channels, true),
            block(channels, channels, false),
        ];
        let up = multiples.iter().enumerate().rev().map(|(level, multiple)| {
            let blocks = (0..=blocks).map(|_| {
                let from = channels + kept.pop().expect("one for each block of the way up");
                channels = base * multiple;
                block(from, channels, level == last)
            });
            let blocks = blocks.collect();
            let change = (level > 0).then(|| Conv::new([channels, channels], 3, 1, i, device));
            Level { blocks, change }
        });
        let up = up.collect();
        Self {
            time: [
                LinearConfig::new(base, EMBEDDING).init(device),
                LinearConfig::new(EMBEDDING, EMBEDDING).init(device),
            ],
            enter: Conv::new([image, base], 3, 1, i, device),
            down,
            middle,
            up,
            norm: Norm::new(channels, groups, true, i, device),
            leave: Conv::new([channels, image], 3, 1, i, device),
            base,
        }
    }

    pub(crate) fn forward(&self, x: Tensor<4>, times: Tensor<1>) -> Tensor<4> {
        let time = self.embed(times);
        let mut h = self.enter.forward(x);
        let mut kept = vec![h.clone()];
        for level in &self.down {
            for block in &level.blocks {
                h = block.forward(h, time.clone());
                kept.push(h.clone());
            }
            if let Some(change) = &level.change {
                h = change.forward(h);
                kept.push(h.clone());
            }
        }
        for block in &self.middle {
            h = block.forward(h, time.clone());
        }
        for level in &self.up {
            for block in &level.blocks {
                let skip = kept.pop().expect("one for each block of the way up");
                h = block.forward(Tensor::cat(vec![h, skip], 1), time.clone());
            }
            if let Some(change) = &level.change {
                let [_, _, height, width] = h.dims();
                let options = InterpolateOptions::new(InterpolateMode::Nearest)
                    .with_output_size([2 * height, 2 * width]);
                h = change.forward(module::interpolate(h, options));
            }
        }
        self.leave.forward(self.norm.forward(h))
    }

    fn embed(&self, times: Tensor<1>) -> Tensor<2> {
        let half = self.base / 2;
        let frequency = |i: usize| (-(10_000_f64.ln()) * i as f64 / half as f64).exp() as f32;
        let frequencies: Vec<f32> = (0..half).map(frequency).collect();
        let frequencies = Tensor::<1>::from_floats(frequencies.as_slice(), &times.device());
        let angles = times.unsqueeze_dim::<2>(1) * frequencies.unsqueeze_dim::<2>(0);
        let embedding = Tensor::cat(vec![angles.clone().sin(), angles.cos()], 1);
        self.time[1].forward(activation::silu(self.time[0].forward(embedding)))
    }
}
