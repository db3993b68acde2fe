//! The blocks of the network: branches of convolutions, joined along the channels.

use crate::networks::layers::{BatchNorm, Conv, Kernel};
use crate::networks::weights::Weights;
use burn::tensor::module::{avg_pool2d, max_pool2d};
use burn::tensor::ops::{AvgPoolOptions, MaxPoolOptions};
use burn::tensor::{Device, Tensor};

const NORM_EPS: f32 = 1e-3;

const ONE: Kernel = Kernel::same(1, 1);
const THREE: Kernel = Kernel::same(3, 3);
const FIVE: Kernel = Kernel::same(5, 5);
const ROW_3: Kernel = Kernel::same(1, 3);
const COLUMN_3: Kernel = Kernel::same(3, 1);
const ROW_7: Kernel = Kernel::same(1, 7);
const COLUMN_7: Kernel = Kernel::same(7, 1);
const VALID: Kernel = Kernel::valid(1);
const DOWN: Kernel = Kernel::valid(2);

/// Everything before the pooled features.
#[derive(Debug)]
pub(super) struct Trunk {
    stem: [Conv; 5],
    blocks: [Block; 11],
}

impl Trunk {
    pub(super) fn read(weights: &mut Weights, device: &Device) -> Self {
        let mut reader = Reader::new(weights, device);
        let mut stem = |name, channels, kernel| reader.conv(name, channels, kernel);
        Self {
            stem: [
                stem(["conv", "Conv2d_1a_3x3"], [3, 32], DOWN),
                stem(["conv_1", "Conv2d_2a_3x3"], [32, 32], VALID),
                stem(["conv_2", "Conv2d_2b_3x3"], [32, 64], THREE),
                stem(["conv_3", "Conv2d_3b_1x1"], [64, 80], ONE),
                stem(["conv_4", "Conv2d_4a_3x3"], [80, 192], VALID),
            ],
            blocks: [
                block_a(&mut reader, ["mixed", "Mixed_5b"], 192, 32),
                block_a(&mut reader, ["mixed_1", "Mixed_5c"], 256, 64),
                block_a(&mut reader, ["mixed_2", "Mixed_5d"], 288, 64),
                block_b(&mut reader, ["mixed_3", "Mixed_6a"]),
                block_c(&mut reader, ["mixed_4", "Mixed_6b"], 128),
                block_c(&mut reader, ["mixed_5", "Mixed_6c"], 160),
                block_c(&mut reader, ["mixed_6", "Mixed_6d"], 160),
                block_c(&mut reader, ["mixed_7", "Mixed_6e"], 192),
                block_d(&mut reader, ["mixed_8", "Mixed_7a"]),
                block_e(&mut reader, ["mixed_9", "Mixed_7b"], 1280, Pool::Average),
                // The FID network takes the maximum here, where torchvision's takes the mean.
                block_e(&mut reader, ["mixed_10", "Mixed_7c"], 2048, Pool::Maximum),
            ],
        }
    }

    /// `[batch, 3, 299, 299]` in [-1, 1] to `[batch, 2048, 8, 8]`.
    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [a, b, c, d, e] = &self.stem;
        let x = c.forward_relu(b.forward_relu(a.forward_relu(x)));
        let x = e.forward_relu(d.forward_relu(Pool::Down.forward(x)));
        let x = Pool::Down.forward(x);
        self.blocks.iter().fold(x, |x, block| block.forward(x))
    }
}

/// The 3x3 pooling at the head of a branch.
#[derive(Clone, Copy, Debug)]
enum Pool {
    None,
    /// Mean of the neighbours inside the picture.
    Average,
    Maximum,
    /// Maximum, stride 2, no padding.
    Down,
}

impl Pool {
    fn forward(self, x: Tensor<4>) -> Tensor<4> {
        let same = || {
            MaxPoolOptions::new([3, 3])
                .with_stride([1, 1])
                .with_padding([1, 1])
        };
        match self {
            Pool::None => x,
            Pool::Average => avg_pool2d(
                x,
                AvgPoolOptions::new([3, 3])
                    .with_stride([1, 1])
                    .with_padding([1, 1])
                    .with_count_include_pad(false),
            ),
            Pool::Maximum => max_pool2d(x, same()),
            Pool::Down => max_pool2d(x, MaxPoolOptions::new([3, 3]).with_stride([2, 2])),
        }
    }
}

/// A pooling, convolutions in a row, and perhaps two more side by side.
#[derive(Debug)]
struct Branch {
    pool: Pool,
    convs: Vec<Conv>,
    fork: Vec<Conv>,
}

#[derive(Debug)]
struct Block(Vec<Branch>);

impl Block {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let mut maps = Vec::new();
        for Branch { pool, convs, fork } in &self.0 {
            let pooled = pool.forward(x.clone());
            let h = convs.iter().fold(pooled, |h, conv| conv.forward_relu(h));
            match fork.as_slice() {
                [] => maps.push(h),
                fork => maps.extend(fork.iter().map(|conv| conv.forward_relu(h.clone()))),
            }
        }
        Tensor::cat(maps, 1)
    }
}

/// A convolution of a branch: its two names, its width and its kernel.
type Layer<'a> = ([&'a str; 2], usize, Kernel);

fn block_a(r: &mut Reader, name: [&str; 2], channels: usize, pooled: usize) -> Block {
    let mut branch = |pool, layers: &[Layer]| r.branch(name, pool, channels, layers, &[]);
    Block(vec![
        branch(Pool::None, &[(["conv", "branch1x1"], 64, ONE)]),
        branch(
            Pool::None,
            &[
                (["tower.conv", "branch5x5_1"], 48, ONE),
                (["tower.conv_1", "branch5x5_2"], 64, FIVE),
            ],
        ),
        branch(
            Pool::None,
            &[
                (["tower_1.conv", "branch3x3dbl_1"], 64, ONE),
                (["tower_1.conv_1", "branch3x3dbl_2"], 96, THREE),
                (["tower_1.conv_2", "branch3x3dbl_3"], 96, THREE),
            ],
        ),
        branch(
            Pool::Average,
            &[(["tower_2.conv", "branch_pool"], pooled, ONE)],
        ),
    ])
}

fn block_b(r: &mut Reader, name: [&str; 2]) -> Block {
    let mut branch = |pool, layers: &[Layer]| r.branch(name, pool, 288, layers, &[]);
    Block(vec![
        branch(Pool::None, &[(["conv", "branch3x3"], 384, DOWN)]),
        branch(
            Pool::None,
            &[
                (["tower.conv", "branch3x3dbl_1"], 64, ONE),
                (["tower.conv_1", "branch3x3dbl_2"], 96, THREE),
                (["tower.conv_2", "branch3x3dbl_3"], 96, DOWN),
            ],
        ),
        branch(Pool::Down, &[]),
    ])
}

fn block_c(r: &mut Reader, name: [&str; 2], inner: usize) -> Block {
    let mut branch = |pool, layers: &[Layer]| r.branch(name, pool, 768, layers, &[]);
    Block(vec![
        branch(Pool::None, &[(["conv", "branch1x1"], 192, ONE)]),
        branch(
            Pool::None,
            &[
                (["tower.conv", "branch7x7_1"], inner, ONE),
                (["tower.conv_1", "branch7x7_2"], inner, ROW_7),
                (["tower.conv_2", "branch7x7_3"], 192, COLUMN_7),
            ],
        ),
        branch(
            Pool::None,
            &[
                (["tower_1.conv", "branch7x7dbl_1"], inner, ONE),
                (["tower_1.conv_1", "branch7x7dbl_2"], inner, COLUMN_7),
                (["tower_1.conv_2", "branch7x7dbl_3"], inner, ROW_7),
                (["tower_1.conv_3", "branch7x7dbl_4"], inner, COLUMN_7),
                (["tower_1.conv_4", "branch7x7dbl_5"], 192, ROW_7),
            ],
        ),
        branch(
            Pool::Average,
            &[(["tower_2.conv", "branch_pool"], 192, ONE)],
        ),
    ])
}

fn block_d(r: &mut Reader, name: [&str; 2]) -> Block {
    let mut branch = |pool, layers: &[Layer]| r.branch(name, pool, 768, layers, &[]);
    Block(vec![
        branch(
            Pool::None,
            &[
                (["tower.conv", "branch3x3_1"], 192, ONE),
                (["tower.conv_1", "branch3x3_2"], 320, DOWN),
            ],
        ),
        branch(
            Pool::None,
            &[
                (["tower_1.conv", "branch7x7x3_1"], 192, ONE),
                (["tower_1.conv_1", "branch7x7x3_2"], 192, ROW_7),
                (["tower_1.conv_2", "branch7x7x3_3"], 192, COLUMN_7),
                (["tower_1.conv_3", "branch7x7x3_4"], 192, DOWN),
            ],
        ),
        branch(Pool::Down, &[]),
    ])
}

fn block_e(r: &mut Reader, name: [&str; 2], channels: usize, pool: Pool) -> Block {
    let mut branch =
        |pool, layers: &[Layer], fork: &[Layer]| r.branch(name, pool, channels, layers, fork);
    Block(vec![
        branch(Pool::None, &[(["conv", "branch1x1"], 320, ONE)], &[]),
        branch(
            Pool::None,
            &[(["tower_conv", "branch3x3_1"], 384, ONE)],
            &[
                (["tower_mixed_conv", "branch3x3_2a"], 384, ROW_3),
                (["tower_mixed_conv_1", "branch3x3_2b"], 384, COLUMN_3),
            ],
        ),
        branch(
            Pool::None,
            &[
                (["tower_1_conv", "branch3x3dbl_1"], 448, ONE),
                (["tower_1_conv_1", "branch3x3dbl_2"], 384, THREE),
            ],
            &[
                (["tower_1_mixed_conv", "branch3x3dbl_3a"], 384, ROW_3),
                (["tower_1_mixed_conv_1", "branch3x3dbl_3b"], 384, COLUMN_3),
            ],
        ),
        branch(pool, &[(["tower_2_conv", "branch_pool"], 192, ONE)], &[]),
    ])
}

/// Reads convolutions under one of the two namings: the TensorFlow graph's or pytorch-fid's.
struct Reader<'r, 'a> {
    weights: &'r mut Weights<'a>,
    device: &'r Device,
    torch_names: bool,
}

impl<'r, 'a> Reader<'r, 'a> {
    fn new(weights: &'r mut Weights<'a>, device: &'r Device) -> Self {
        let torch_names = weights.shape("Conv2d_1a_3x3.conv.weight").is_some();
        Self {
            weights,
            device,
            torch_names,
        }
    }

    fn branch(
        &mut self,
        block: [&str; 2],
        pool: Pool,
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

    fn conv(&mut self, names: [&str; 2], channels: [usize; 2], kernel: Kernel) -> Conv {
        let name = names[usize::from(self.torch_names)];
        let mut take = |key: &str| self.weights.take(&format!("{name}.{key}"), &[channels[1]]);
        let (weight, norm) = if self.torch_names {
            let gamma = take("bn.weight");
            (
                "conv.weight",
                [
                    gamma,
                    take("bn.bias"),
                    take("bn.running_mean"),
                    take("bn.running_var"),
                ],
            )
        } else {
            // The graph's normalisations have no scale.
            let gamma = vec![1.0; channels[1]];
            ("weight", [gamma, take("beta"), take("mean"), take("var")])
        };
        let [gamma, beta, mean, var] = norm;
        let norm = BatchNorm {
            gamma,
            beta,
            mean,
            var,
            eps: NORM_EPS,
        };
        let weight = format!("{name}.{weight}");
        Conv::folded(self.weights, &weight, channels, kernel, &norm, self.device)
    }
}
