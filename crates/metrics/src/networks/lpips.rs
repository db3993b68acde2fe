//! How different two images look.

use super::batches::to_tensor;
use super::layers::{Conv, Kernel};
use super::weights::{Weights, hash, read};
use crate::restoration::paired;
use crate::{Images, MetricsError, Result};
use burn::tensor::ops::MaxPoolOptions;
use burn::tensor::{Device, Tensor, TensorData, activation::relu, module::max_pool2d};
use fewstep_kernels::device::Placement;
use std::path::Path;

/// Pairs per network call.
const BATCH: usize = 32;

/// Keeps the length of a feature vector away from zero, where its root has no slope.
const TINY: f32 = 1e-20;

/// A convolution of a trunk: its number among torchvision's layers, its width and its kernel.
type Layer = (usize, usize, Kernel);

/// A network whose activations are compared.
struct Trunk {
    name: &'static str,
    /// The beginning of its convolutions' names in the port to JAX.
    jax: &'static str,
    /// Images with fewer rows or columns have nothing left after the last pooling.
    smallest: usize,
    /// Side of the poolings, which have stride 2.
    pool: usize,
    /// How many stages begin with a pooling, from the second on.
    pooled: usize,
    /// Convolutions, stage by stage; the end of each stage is compared.
    stages: [&'static [Layer]; 5],
}

const ALEX: Trunk = Trunk {
    name: "alex",
    jax: "AlexNet_0",
    smallest: 31,
    pool: 3,
    pooled: 2,
    stages: [
        &[(0, 64, Kernel::square(11, 4, 2))],
        &[(3, 192, Kernel::square(5, 1, 2))],
        &[(6, 384, Kernel::padded(1))],
        &[(8, 256, Kernel::padded(1))],
        &[(10, 256, Kernel::padded(1))],
    ],
};

const VGG: Trunk = Trunk {
    name: "vgg",
    jax: "VGG16_0",
    smallest: 16,
    pool: 2,
    pooled: 4,
    stages: [
        &[(0, 64, Kernel::padded(1)), (2, 64, Kernel::padded(1))],
        &[(5, 128, Kernel::padded(1)), (7, 128, Kernel::padded(1))],
        &[
            (10, 256, Kernel::padded(1)),
            (12, 256, Kernel::padded(1)),
            (14, 256, Kernel::padded(1)),
        ],
        &[
            (17, 512, Kernel::padded(1)),
            (19, 512, Kernel::padded(1)),
            (21, 512, Kernel::padded(1)),
        ],
        &[
            (24, 512, Kernel::padded(1)),
            (26, 512, Kernel::padded(1)),
            (28, 512, Kernel::padded(1)),
        ],
    ],
};

/// Learned perceptual image patch similarity (1801.03924), version 0.1: the squared difference of
/// two images' activations, each normalised over its channels, weighted per channel, averaged over
/// positions and summed over five stages of AlexNet or VGG16. 0 for equal images; grey images are
/// repeated over three channels.
///
/// The weights are a safetensors file with both the trunk and the linear layers: under the names of
/// the `lpips` package's state (`net.slice1.0.weight`, `lin0.model.1.weight`, ...), or of its port
/// to JAX (`AlexNet_0.Conv_0.kernel`, `NetLinLayer_0.Conv_0.kernel`, ..., kernels `[height, width,
/// in, out]`).
#[derive(Debug)]
pub struct Lpips {
    id: String,
    smallest: usize,
    pool: usize,
    stages: Vec<Stage>,
    shift: Tensor<4>,
    scale: Tensor<4>,
}

#[derive(Debug)]
struct Stage {
    pooled: bool,
    convs: Vec<Conv>,
    /// Weight of each channel, `[1, channels, 1, 1]`.
    weight: Tensor<4>,
}

impl Lpips {
    /// Reads the network from a file.
    ///
    /// # Errors
    /// When the file cannot be read or holds something else; the message lists what is missing.
    pub fn load(path: &Path, device: &Device) -> Result<Self> {
        Self::from_bytes(&read(path)?, &path.display().to_string(), device)
    }

    /// The network with the weights of a safetensors file in memory; `origin` names it in messages.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn from_bytes(bytes: &[u8], origin: &str, device: &Device) -> Result<Self> {
        let mut weights = Weights::parse(bytes, origin)?;
        let jax = [ALEX, VGG].into_iter().find(|trunk| {
            let first = format!("{}.Conv_0.kernel", trunk.jax);
            weights.shape(&first).is_some()
        });
        let (trunk, names) = match (jax, weights.shape("net.slice1.0.weight")) {
            (Some(trunk), _) => (trunk, Names::Jax),
            (None, Some(shape)) if shape.last() == Some(&3) => (VGG, Names::Torch),
            (None, _) => (ALEX, Names::Torch),
        };
        let reader = &mut Reader {
            weights: &mut weights,
            names,
            device,
            convs: 0,
        };
        let stages = (0..5).map(|stage| reader.stage(&trunk, stage)).collect();
        let digits = hash(bytes);
        weights.finish("LPIPS with AlexNet or VGG16, trunk and linear layers")?;
        let channels = |values: [f32; 3]| {
            let values = TensorData::new(values.to_vec(), [1, 3, 1, 1]);
            Tensor::from_data(values, device)
        };
        Ok(Self {
            id: format!("LPIPS 0.1 {} ({})", trunk.name, &digits[..12]),
            smallest: trunk.smallest,
            pool: trunk.pool,
            stages,
            shift: channels([-0.030, -0.088, -0.188]),
            scale: channels([0.458, 0.448, 0.450]),
        })
    }

    /// Version, trunk, and the first digits of the hash of the weights.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Checks that images of this shape, `[channels, height, width]`, can be compared.
    ///
    /// # Errors
    /// When they are neither grey nor RGB, or too small.
    pub fn check(&self, shape: [usize; 3]) -> Result<()> {
        let [channels, height, width] = shape;
        if [1, 3].contains(&channels) && height.min(width) >= self.smallest {
            return Ok(());
        }
        Err(MetricsError::ImageShape {
            network: self.id.clone(),
            expected: match self.smallest {
                31 => "grey or RGB 31x31 and larger",
                _ => "grey or RGB 16x16 and larger",
            },
            got: shape,
        })
    }

    /// The distance of each pair.
    ///
    /// # Errors
    /// When the sets differ in shape or number, or cannot be compared.
    pub fn distances(&self, a: Images<'_>, b: Images<'_>) -> Result<Vec<f64>> {
        paired(a, b)?;
        self.check(a.shape())?;
        let pairs: Vec<_> = a.batches(BATCH).zip(b.batches(BATCH)).collect();
        let device = self.shift.device();
        let parts = Placement::of(&device).map(pairs, |(a, b)| {
            let [a, b] = [a, b].map(|part| to_tensor(&part, &device) * 2.0 - 1.0);
            let values = self.between(a, b).into_data();
            values.iter::<f32>().map(f64::from).collect::<Vec<_>>()
        });
        Ok(parts.concat())
    }

    /// The distance of each pair, with its graph where the images have one. [`check`](Self::check)
    /// must accept the shape.
    ///
    /// # Shapes
    /// - `a`, `b`: `[batch, 1 or 3, height, width]`, in [-1, 1]
    /// - output: `[batch]`
    pub fn between(&self, a: Tensor<4>, b: Tensor<4>) -> Tensor<1> {
        let batch = a.dims()[0];
        let (a, b) = (self.activations(a), self.activations(b));
        let stages = self.stages.iter().zip(a.into_iter().zip(b));
        let distances = stages.map(|(stage, (a, b))| {
            let weighted = (a - b).square() * stage.weight.clone();
            let places = weighted.sum_dim(1);
            places.mean_dim(2).mean_dim(3).reshape([batch])
        });
        distances
            .reduce(|sum, stage| sum + stage)
            .expect("there are five stages")
    }

    /// What is compared: the end of each stage, normalised over its channels.
    fn activations(&self, x: Tensor<4>) -> Vec<Tensor<4>> {
        let x = match x.dims()[1] {
            1 => x.repeat_dim(1, 3),
            _ => x,
        };
        let mut x = (x - self.shift.clone()) / self.scale.clone();
        let mut ends = Vec::with_capacity(self.stages.len());
        for stage in &self.stages {
            if stage.pooled {
                let options = MaxPoolOptions::new([self.pool; 2]).with_stride([2, 2]);
                x = max_pool2d(x, options);
            }
            x = stage.convs.iter().fold(x, |x, conv| relu(conv.forward(x)));
            let length = (x.clone().square().sum_dim(1) + TINY).sqrt();
            ends.push(x.clone() / length);
        }
        ends
    }
}

/// Which names and layout a file has.
#[derive(Clone, Copy, PartialEq)]
enum Names {
    Torch,
    Jax,
}

struct Reader<'r, 'a> {
    weights: &'r mut Weights<'a>,
    names: Names,
    device: &'r Device,
    /// Convolutions read so far.
    convs: usize,
}

impl Reader<'_, '_> {
    fn stage(&mut self, trunk: &Trunk, stage: usize) -> Stage {
        let mut inputs = match stage {
            0 => 3,
            _ => width(trunk.stages[stage - 1]),
        };
        let mut convs = vec![];
        for &(layer, outputs, kernel) in trunk.stages[stage] {
            let name = match self.names {
                Names::Torch => format!("net.slice{}.{layer}", stage + 1),
                Names::Jax => format!("{}.Conv_{}", trunk.jax, self.convs),
            };
            convs.push(self.conv(&name, [inputs, outputs], kernel));
            self.convs += 1;
            inputs = outputs;
        }
        let shape = [1, inputs, 1, 1];
        let weight = match self.names {
            Names::Torch => (format!("lin{stage}.model.1.weight"), shape),
            Names::Jax => (
                format!("NetLinLayer_{stage}.Conv_0.kernel"),
                [1, 1, inputs, 1],
            ),
        };
        Stage {
            pooled: (1..=trunk.pooled).contains(&stage),
            convs,
            weight: self.tensor(&weight.0, weight.1).reshape(shape),
        }
    }

    fn conv(&mut self, name: &str, [inputs, outputs]: [usize; 2], kernel: Kernel) -> Conv {
        let [height, width] = kernel.size;
        let weight = match self.names {
            Names::Torch => {
                self.tensor(&format!("{name}.weight"), [outputs, inputs, height, width])
            }
            Names::Jax => self
                .tensor(&format!("{name}.kernel"), [height, width, inputs, outputs])
                .permute([3, 2, 0, 1]),
        };
        let bias = self.tensor(&format!("{name}.bias"), [outputs]);
        Conv::plain(weight, bias, kernel)
    }

    fn tensor<const D: usize>(&mut self, name: &str, shape: [usize; D]) -> Tensor<D> {
        let values = TensorData::new(self.weights.take(name, &shape), shape);
        Tensor::from_data(values, self.device)
    }
}

/// Channels at the end of a stage.
fn width(stage: &[Layer]) -> usize {
    stage.last().map_or(0, |layer| layer.1)
}
