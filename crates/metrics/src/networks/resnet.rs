//! Residual networks for CIFAR images.

use super::batches::{Activations, run};
use super::layers::{BatchNorm, Conv, Kernel, global_average};
use super::weights::{Weights, hash, read};
use crate::{FeatureId, FeatureKind, FeatureNetwork, Features, Images, MetricsError, Result};
use burn::tensor::{Device, Tensor, TensorData, activation::relu};
use std::path::Path;

const SIDE: usize = 32;
const FEATURES: usize = 64;
const WIDTHS: [usize; 3] = [16, 32, 64];
/// Per-channel mean and deviation that the published weights expect.
const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const DEVIATION: [f32; 3] = [0.229, 0.224, 0.225];
const NORM_EPS: f32 = 1e-5;
const BATCH: usize = 128;

/// The ResNet-20, -32, -44, -56 and -110 for CIFAR of He et al. 2015 as a feature network: 64
/// pooled features and the class probabilities. On a CPU about a hundred times cheaper than
/// Inception.
///
/// The weights are a safetensors file with the names of akamaster's `pytorch_resnet_cifar10`
/// (`conv1.weight`, `layer1.0.bn1.running_mean`, ..., `linear.bias`; shortcuts without parameters).
/// The depth and the number of classes follow from the file.
#[derive(Debug)]
pub struct CifarResNet {
    id: FeatureId,
    stem: Conv,
    blocks: Vec<Block>,
    head: (Tensor<2>, Tensor<1>),
    device: Device,
}

impl CifarResNet {
    /// Reads the network from a file.
    ///
    /// # Errors
    /// When the file cannot be read or holds another network.
    pub fn load(path: &Path, device: &Device) -> Result<Self> {
        Self::from_bytes(&read(path)?, &path.display().to_string(), device)
    }

    /// The network with the weights of a safetensors file in memory; `origin` names it in messages.
    ///
    /// # Errors
    /// When the bytes hold another network.
    pub fn from_bytes(bytes: &[u8], origin: &str, device: &Device) -> Result<Self> {
        let mut weights = Weights::parse(bytes, origin)?;
        let per_stage = (0..)
            .take_while(|i| weights.shape(&format!("layer1.{i}.conv1.weight")).is_some())
            .count()
            .max(1);
        let mut conv = |conv: &str, norm: &str, channels: [usize; 2], stride| {
            let norm = read_norm(&mut weights, norm, channels[1]);
            Conv::folded(
                &mut weights,
                conv,
                channels,
                Kernel::padded(stride),
                &norm,
                device,
            )
        };
        let stem = conv("conv1.weight", "bn1", [3, WIDTHS[0]], 1);
        let mut blocks = Vec::with_capacity(3 * per_stage);
        let mut width = WIDTHS[0];
        for (stage, next) in WIDTHS.into_iter().enumerate() {
            for i in 0..per_stage {
                let stride = if next == width { 1 } else { 2 };
                let name = format!("layer{}.{i}", stage + 1);
                let mut half = |n: usize, channels, stride| {
                    conv(
                        &format!("{name}.conv{n}.weight"),
                        &format!("{name}.bn{n}"),
                        channels,
                        stride,
                    )
                };
                blocks.push(Block {
                    first: half(1, [width, next], stride),
                    second: half(2, [next, next], 1),
                    stride,
                    widening: next - width,
                });
                width = next;
            }
        }
        let classes = weights
            .shape("linear.bias")
            .map_or(10, |shape| shape.iter().product());
        let matrix = weights.take("linear.weight", &[classes, FEATURES]);
        let bias = weights.take("linear.bias", &[classes]);
        weights.finish("a CIFAR ResNet with the names of pytorch_resnet_cifar10")?;
        let matrix = Tensor::from_data(TensorData::new(matrix, [classes, FEATURES]), device);
        Ok(Self {
            id: FeatureId {
                name: format!("cifar-resnet-{}", 6 * per_stage + 2),
                hash: hash(bytes),
                kind: FeatureKind::Classifier,
            },
            stem,
            blocks,
            head: (
                matrix.transpose(),
                Tensor::from_data(TensorData::new(bias, [classes]), device),
            ),
            device: device.clone(),
        })
    }

    /// `x` in [0, 1].
    fn forward(&self, x: Tensor<4>) -> Activations {
        let channel =
            |values: [f32; 3]| Tensor::<1>::from_floats(values, &self.device).reshape([1, 3, 1, 1]);
        let x = (x - channel(MEAN)) / channel(DEVIATION);
        let stem = self.stem.forward_relu(x);
        let map = self.blocks.iter().fold(stem, |x, block| block.forward(x));
        let features = global_average(map);
        let (matrix, bias) = self.head.clone();
        let logits = features.clone().matmul(matrix) + bias.unsqueeze();
        Activations {
            features,
            logits: Some(logits),
        }
    }
}

impl FeatureNetwork for CifarResNet {
    fn id(&self) -> &FeatureId {
        &self.id
    }

    fn dim(&self) -> usize {
        FEATURES
    }

    fn features(&self, images: &Images) -> Result<Features> {
        if images.shape() != [3, SIDE, SIDE] {
            return Err(MetricsError::ImageShape {
                network: self.id.name.clone(),
                expected: "RGB 32x32",
                got: images.shape(),
            });
        }
        run(images, BATCH, FEATURES, &self.device, |x| self.forward(x))
    }
}

/// Two convolutions next to a shortcut without parameters.
#[derive(Debug)]
struct Block {
    first: Conv,
    second: Conv,
    stride: usize,
    /// Channels that the block adds.
    widening: usize,
}

impl Block {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let h = self.second.forward(self.first.forward_relu(x.clone()));
        relu(h + self.shortcut(x))
    }

    /// Option A of the paper: every `stride`-th pixel, zeros for the new channels on both sides.
    fn shortcut(&self, x: Tensor<4>) -> Tensor<4> {
        if self.stride == 1 {
            return x;
        }
        let step = self.stride as isize;
        let x = x.slice(burn::tensor::s![.., .., ..;step, ..;step]);
        let [batch, _, height, width] = x.dims();
        let zeros = Tensor::zeros([batch, self.widening / 2, height, width], &x.device());
        Tensor::cat(vec![zeros.clone(), x, zeros], 1)
    }
}

fn read_norm(weights: &mut Weights, name: &str, channels: usize) -> BatchNorm {
    let mut take = |key: &str| weights.take(&format!("{name}.{key}"), &[channels]);
    BatchNorm {
        gamma: take("weight"),
        beta: take("bias"),
        mean: take("running_mean"),
        var: take("running_var"),
        eps: NORM_EPS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_weights_are_refused_with_what_is_missing() {
        let empty = Vec::<(&str, safetensors::tensor::TensorView)>::new();
        let file = safetensors::serialize(empty, None).unwrap();
        let error = CifarResNet::from_bytes(&file, "x", &Device::flex()).unwrap_err();
        assert!(
            error.to_string().contains("`bn1.weight` [16] is missing"),
            "{error}"
        );
    }

    #[test]
    fn a_widening_shortcut_thins_pixels_and_pads_channels() {
        let device = Device::flex();
        let norm = BatchNorm {
            gamma: vec![0.0; 4],
            beta: vec![0.0; 4],
            mean: vec![0.0; 4],
            var: vec![1.0; 4],
            eps: 0.0,
        };
        let empty = Vec::<(&str, safetensors::tensor::TensorView)>::new();
        let file = safetensors::serialize(empty, None).unwrap();
        let mut weights = Weights::parse(&file, "zeros").unwrap();
        let mut zero = |channels, stride| {
            Conv::folded(
                &mut weights,
                "none",
                channels,
                Kernel::padded(stride),
                &norm,
                &device,
            )
        };
        let block = Block {
            first: zero([2, 4], 2),
            second: zero([4, 4], 1),
            stride: 2,
            widening: 2,
        };
        let x = Tensor::<1>::from_floats(std::array::from_fn::<f32, 32, _>(|i| i as f32), &device);
        let y = block.forward(x.reshape([1, 2, 4, 4])).into_data();
        let y: Vec<f32> = y.iter::<f32>().collect();
        let expected = [
            [0.0; 4],
            [0.0, 2.0, 8.0, 10.0],
            [16.0, 18.0, 24.0, 26.0],
            [0.0; 4],
        ];
        assert_eq!(y, expected.concat());
    }
}
