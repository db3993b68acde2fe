//! Convolutions that change resolution.

use super::ops::conv;
use crate::train::init::Init;
use crate::train::precision::upcast;
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
    pub(crate) fn down(&self, x: Tensor<4>) -> Tensor<4> {
        conv(&upcast(&self.conv, &x), x)
    }

    /// Halves the resolution, zeros at the bottom and on the right alone: what autoencoders do.
    pub(crate) fn down_from_corner(&self, x: Tensor<4>) -> Tensor<4> {
        let x = x.pad((0, 1, 0, 1), PadMode::Constant(0.0));
        let conv = upcast(&self.conv, &x);
        let bias = conv.bias.as_ref().map(|bias| bias.val());
        fewstep_kernels::conv2d(x, conv.weight.val(), bias, 2, [0, 0])
    }

    /// Doubles the resolution.
    pub(crate) fn up(&self, x: Tensor<4>) -> Tensor<4> {
        let x = maps::double(x);
        conv(&upcast(&self.conv, &x), x)
    }
}
