//! Convolutions that change resolution.

use super::ops::conv;
use crate::train::checkpointing::ready;
use crate::train::cost::{Counter, Stage};
use crate::train::init::Init;
use crate::train::lora::Lora;
use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::tensor::{Tensor, ops::PadMode};
use fewstep_kernels::maps;

/// A convolution that changes resolution, under the name that diffusers gives it.
#[derive(Module, Debug)]
pub(crate) struct ResampleConv {
    conv: Conv2d,
}

impl ResampleConv {
    /// Stride 2 to halve the resolution, 1 to double it.
    pub(crate) fn new(init: &mut Init, width: usize, stride: usize) -> Self {
        Self {
            conv: init.conv(width, width, 3, stride),
        }
    }

    /// Halves the resolution, one row and column of zeros on every side.
    pub(crate) fn down(&self, x: Tensor<4>, lora: Option<&Lora>) -> Tensor<4> {
        conv(&ready(&self.conv, &x, lora), x)
    }

    /// Halves the resolution, with zeros only at the bottom and on the right: what autoencoders do.
    pub(crate) fn down_from_corner(&self, x: Tensor<4>, lora: Option<&Lora>) -> Tensor<4> {
        let x = x.pad((0, 1, 0, 1), PadMode::Constant(0.0));
        let conv = ready(&self.conv, &x, lora);
        let bias = conv.bias.as_ref().map(|bias| bias.val());
        fewstep_kernels::conv2d(x, conv.weight.val(), bias, 2, [0, 0])
    }

    /// Doubles the resolution.
    pub(crate) fn up(&self, x: Tensor<4>, lora: Option<&Lora>) -> Tensor<4> {
        let x = maps::double(x);
        conv(&ready(&self.conv, &x, lora), x)
    }

    /// Its cost, for a number of positions before and after. The convolution is computed at the
    /// larger resolution's positions, and keeps its input there.
    pub(crate) fn cost(counter: &Counter, width: usize, [before, after]: [usize; 2]) -> Stage {
        let convolved = before.max(after);
        let conv = counter.convolution("conv", width, width);
        Stage {
            kept: conv.keeps(width * convolved),
            kept_checkpointed: conv.keeps(width * before),
            working: width * (before + after),
            forward: width * (before + after + convolved),
            gradients: conv.gradients,
            convolution: 9 * width * width,
            ..Stage::default()
        }
    }
}
