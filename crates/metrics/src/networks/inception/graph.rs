//! What the blocks are made of, and how they are read from a file.

use super::pool::Pool;
use crate::networks::layers::{BatchNorm, Conv, Kernel};
use crate::networks::weights::Weights;
use burn::tensor::{Device, Tensor, activation::relu};

const NORM_EPS: f32 = 1e-3;

/// A pooling, convolutions in a row, and perhaps two more in parallel.
#[derive(Debug)]
pub(super) struct Branch {
    pool: Option<Pool>,
    convs: Vec<Conv>,
    fork: Vec<Conv>,
}

#[derive(Debug)]
pub(super) struct Block(pub(super) Vec<Branch>);

impl Block {
    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let mut maps = Vec::new();
        for Branch { pool, convs, fork } in &self.0 {
            let h = match (pool, convs.as_slice()) {
                // A mean and a product of channels can be swapped, and after the product there are
                // fewer channels.
                (Some(Pool::Average), [conv]) => {
                    relu(Pool::Average.forward(conv.forward(x.clone())))
                }
                (pool, convs) => {
                    let pooled = pool.map_or_else(|| x.clone(), |pool| pool.forward(x.clone()));
                    convs.iter().fold(pooled, |h, conv| conv.forward_relu(h))
                }
            };
            match fork.as_slice() {
                [] => maps.push(h),
                fork => maps.extend(fork.iter().map(|conv| conv.forward_relu(h.clone()))),
            }
        }
        Tensor::cat(maps, 1)
    }
}

/// A convolution of a branch: its two names, its width and its kernel.
pub(super) type Layer<'a> = ([&'a str; 2], usize, Kernel);

/// Reads convolutions under one of the two namings: the TensorFlow graph's or pytorch-fid's.
pub(super) struct Reader<'r, 'a> {
    weights: &'r mut Weights<'a>,
    device: &'r Device,
    torch_names: bool,
}

impl<'r, 'a> Reader<'r, 'a> {
    pub(super) fn new(weights: &'r mut Weights<'a>, device: &'r Device) -> Self {
        let torch_names = weights.shape("Conv2d_1a_3x3.conv.weight").is_some();
        Self {
            weights,
            device,
            torch_names,
        }
    }

    /// A branch of a block: a pooling, then `layers`, then `fork` in parallel.
    pub(super) fn branch(
        &mut self,
        block: [&str; 2],
        pool: Option<Pool>,
        mut channels: usize,
        layers: &[Layer],
        fork: &[Layer],
    ) -> Branch {
        let mut read = |channels, (name, width, kernel): &Layer| {
            let full = [0, 1].map(|i| format!("{}.{}", block[i], name[i]));
            self.conv([&full[0], &full[1]], [channels, *width], *kernel)
        };
        let mut convs = Vec::with_capacity(layers.len());
        for layer in layers {
            convs.push(read(channels, layer));
            channels = layer.1;
        }
        let fork = fork.iter().map(|layer| read(channels, layer)).collect();
        Branch { pool, convs, fork }
    }

    pub(super) fn conv(&mut self, names: [&str; 2], channels: [usize; 2], kernel: Kernel) -> Conv {
        let name = names[usize::from(self.torch_names)];
        let mut take = |key: &str| self.weights.take(&format!("{name}.{key}"), &[channels[1]]);
        let (gamma, keys) = match self.torch_names {
            true => (
                take("bn.weight"),
                [
                    "conv.weight",
                    "bn.bias",
                    "bn.running_mean",
                    "bn.running_var",
                ],
            ),
            // The graph's normalisations have no scale.
            false => (vec![1.0; channels[1]], ["weight", "beta", "mean", "var"]),
        };
        let [weight, beta, mean, var] = keys;
        let norm = BatchNorm {
            gamma,
            beta: take(beta),
            mean: take(mean),
            var: take(var),
            eps: NORM_EPS,
        };
        let weight = format!("{name}.{weight}");
        Conv::folded(self.weights, &weight, channels, kernel, &norm, self.device)
    }
}
