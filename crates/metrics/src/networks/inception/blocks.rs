//! The network as a table: a stem, then eleven blocks of five kinds.

use super::graph::{Block, Layer, Reader};
use super::pool::Pool;
use crate::networks::layers::{Conv, Kernel};
use crate::networks::weights::Weights;
use burn::tensor::{Device, Tensor, activation::relu};

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
        // A maximum and a ReLU can be swapped, and after the maximum there are fewer values.
        let down = |x| relu(Pool::Down.forward(x));
        let x = down(c.forward(b.forward_relu(a.forward_relu(x))));
        let x = down(e.forward(d.forward_relu(x)));
        self.blocks.iter().fold(x, |x, block| block.forward(x))
    }
}

fn block_a(r: &mut Reader, name: [&str; 2], channels: usize, pooled: usize) -> Block {
    let mut branch = |pool, layers: &[Layer]| r.branch(name, pool, channels, layers, &[]);
    Block(vec![
        branch(None, &[(["conv", "branch1x1"], 64, ONE)]),
        branch(
            None,
            &[
                (["tower.conv", "branch5x5_1"], 48, ONE),
                (["tower.conv_1", "branch5x5_2"], 64, FIVE),
            ],
        ),
        branch(
            None,
            &[
                (["tower_1.conv", "branch3x3dbl_1"], 64, ONE),
                (["tower_1.conv_1", "branch3x3dbl_2"], 96, THREE),
                (["tower_1.conv_2", "branch3x3dbl_3"], 96, THREE),
            ],
        ),
        branch(
            Some(Pool::Average),
            &[(["tower_2.conv", "branch_pool"], pooled, ONE)],
        ),
    ])
}

fn block_b(r: &mut Reader, name: [&str; 2]) -> Block {
    let mut branch = |pool, layers: &[Layer]| r.branch(name, pool, 288, layers, &[]);
    Block(vec![
        branch(None, &[(["conv", "branch3x3"], 384, DOWN)]),
        branch(
            None,
            &[
                (["tower.conv", "branch3x3dbl_1"], 64, ONE),
                (["tower.conv_1", "branch3x3dbl_2"], 96, THREE),
                (["tower.conv_2", "branch3x3dbl_3"], 96, DOWN),
            ],
        ),
        branch(Some(Pool::Down), &[]),
    ])
}

fn block_c(r: &mut Reader, name: [&str; 2], inner: usize) -> Block {
    let mut branch = |pool, layers: &[Layer]| r.branch(name, pool, 768, layers, &[]);
    Block(vec![
        branch(None, &[(["conv", "branch1x1"], 192, ONE)]),
        branch(
            None,
            &[
                (["tower.conv", "branch7x7_1"], inner, ONE),
                (["tower.conv_1", "branch7x7_2"], inner, ROW_7),
                (["tower.conv_2", "branch7x7_3"], 192, COLUMN_7),
            ],
        ),
        branch(
            None,
            &[
                (["tower_1.conv", "branch7x7dbl_1"], inner, ONE),
                (["tower_1.conv_1", "branch7x7dbl_2"], inner, COLUMN_7),
                (["tower_1.conv_2", "branch7x7dbl_3"], inner, ROW_7),
                (["tower_1.conv_3", "branch7x7dbl_4"], inner, COLUMN_7),
                (["tower_1.conv_4", "branch7x7dbl_5"], 192, ROW_7),
            ],
        ),
        branch(
            Some(Pool::Average),
            &[(["tower_2.conv", "branch_pool"], 192, ONE)],
        ),
    ])
}

fn block_d(r: &mut Reader, name: [&str; 2]) -> Block {
    let mut branch = |pool, layers: &[Layer]| r.branch(name, pool, 768, layers, &[]);
    Block(vec![
        branch(
            None,
            &[
                (["tower.conv", "branch3x3_1"], 192, ONE),
                (["tower.conv_1", "branch3x3_2"], 320, DOWN),
            ],
        ),
        branch(
            None,
            &[
                (["tower_1.conv", "branch7x7x3_1"], 192, ONE),
                (["tower_1.conv_1", "branch7x7x3_2"], 192, ROW_7),
                (["tower_1.conv_2", "branch7x7x3_3"], 192, COLUMN_7),
                (["tower_1.conv_3", "branch7x7x3_4"], 192, DOWN),
            ],
        ),
        branch(Some(Pool::Down), &[]),
    ])
}

fn block_e(r: &mut Reader, name: [&str; 2], channels: usize, pool: Pool) -> Block {
    let mut branch =
        |pool, layers: &[Layer], fork: &[Layer]| r.branch(name, pool, channels, layers, fork);
    Block(vec![
        branch(None, &[(["conv", "branch1x1"], 320, ONE)], &[]),
        branch(
            None,
            &[(["tower_conv", "branch3x3_1"], 384, ONE)],
            &[
                (["tower_mixed_conv", "branch3x3_2a"], 384, ROW_3),
                (["tower_mixed_conv_1", "branch3x3_2b"], 384, COLUMN_3),
            ],
        ),
        branch(
            None,
            &[
                (["tower_1_conv", "branch3x3dbl_1"], 448, ONE),
                (["tower_1_conv_1", "branch3x3dbl_2"], 384, THREE),
            ],
            &[
                (["tower_1_mixed_conv", "branch3x3dbl_3a"], 384, ROW_3),
                (["tower_1_mixed_conv_1", "branch3x3dbl_3b"], 384, COLUMN_3),
            ],
        ),
        branch(
            Some(pool),
            &[(["tower_2_conv", "branch_pool"], 192, ONE)],
            &[],
        ),
    ])
}
