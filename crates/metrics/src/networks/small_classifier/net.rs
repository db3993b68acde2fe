//! The network itself, which the training example shares.

use crate::networks::weights::Weights;
use crate::{MetricsError, Result};
use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::{Device, Tensor, TensorData, activation::relu};
use safetensors::{Dtype, tensor::TensorView};
use std::collections::HashMap;

pub(super) const SIDE: usize = 32;
pub(super) const FEATURES: usize = 128;
const CLASSES: usize = 10;
const CHANNELS: [usize; 4] = [1, 32, 64, 128];
/// Values of the map behind the three halvings.
const FLAT: usize = CHANNELS[3] * (SIDE / 8) * (SIDE / 8);

/// Three strided 3x3 convolutions, a layer of 128 features and one of 10 classes, ReLU after each
/// but the last; 0.36 M parameters.
#[derive(Module, Debug)]
pub struct ClassifierNet {
    convs: Vec<Conv2d>,
    hidden: Linear,
    head: Linear,
}

impl ClassifierNet {
    /// A network with random weights, from the device's generator.
    pub fn init(device: &Device) -> Self {
        let conv = |pair: &[usize]| {
            Conv2dConfig::new([pair[0], pair[1]], [3, 3])
                .with_stride([2, 2])
                .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
                .init(device)
        };
        Self {
            convs: CHANNELS.windows(2).map(conv).collect(),
            hidden: LinearConfig::new(FLAT, FEATURES).init(device),
            head: LinearConfig::new(FEATURES, CLASSES).init(device),
        }
    }

    /// Features and logits.
    ///
    /// # Shapes
    /// - `x`: `[batch, 1, 32, 32]`, in [0, 1]
    /// - features: `[batch, 128]`, not negative
    /// - logits: `[batch, 10]`
    pub fn forward(&self, x: Tensor<4>) -> (Tensor<2>, Tensor<2>) {
        let x = x * 2.0 - 1.0;
        let map = self.convs.iter().fold(x, |x, conv| {
            let bias = conv.bias.as_ref().map(|bias| bias.val());
            relu(fewstep_kernels::conv2d(
                x,
                conv.weight.val(),
                bias,
                2,
                [1, 1],
            ))
        });
        let features = relu(self.hidden.forward(map.flatten(1, 3)));
        let logits = self.head.forward(features.clone());
        (features, logits)
    }

    /// The weights in half precision as the bytes of a safetensors file, with metadata.
    ///
    /// Linear weights are stored `[out, in]`, as everywhere outside this framework.
    ///
    /// # Errors
    /// When the metadata is too large for the format.
    pub fn to_bytes(&self, metadata: HashMap<String, String>) -> Result<Vec<u8>> {
        let mut entries = Vec::new();
        for (i, conv) in self.convs.iter().enumerate() {
            entries.push(entry(format!("convs.{i}.weight"), conv.weight.val()));
            entries.extend(
                conv.bias
                    .as_ref()
                    .map(|b| entry(format!("convs.{i}.bias"), b.val())),
            );
        }
        for (name, linear) in [("hidden", &self.hidden), ("head", &self.head)] {
            entries.push(entry(
                format!("{name}.weight"),
                linear.weight.val().transpose(),
            ));
            entries.extend(
                linear
                    .bias
                    .as_ref()
                    .map(|b| entry(format!("{name}.bias"), b.val())),
            );
        }
        let failed = |source| MetricsError::Format {
            origin: "the small classifier".to_owned(),
            source,
        };
        let views = entries.iter().map(|(name, shape, bytes)| {
            let view = TensorView::new(Dtype::F16, shape.clone(), bytes)?;
            Ok((name.as_str(), view))
        });
        let views: Vec<_> = views
            .collect::<std::result::Result<_, _>>()
            .map_err(failed)?;
        safetensors::serialize(views, Some(metadata)).map_err(failed)
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote; `origin` names the bytes in messages.
    ///
    /// # Errors
    /// When the bytes hold another network.
    pub fn from_bytes(bytes: &[u8], origin: &str, device: &Device) -> Result<Self> {
        let mut weights = Weights::parse(bytes, origin)?;
        let mut net = Self::init(device);
        for (i, (conv, pair)) in std::iter::zip(&mut net.convs, CHANNELS.windows(2)).enumerate() {
            let shape = [pair[1], pair[0], 3, 3];
            conv.weight = Param::from_tensor(read(
                &mut weights,
                &format!("convs.{i}.weight"),
                shape,
                device,
            ));
            conv.bias = Some(Param::from_tensor(read(
                &mut weights,
                &format!("convs.{i}.bias"),
                [pair[1]],
                device,
            )));
        }
        net.hidden = read_linear(&mut weights, "hidden", [FLAT, FEATURES], device);
        net.head = read_linear(&mut weights, "head", [FEATURES, CLASSES], device);
        weights.finish("the small classifier")?;
        Ok(net)
    }
}

/// Name, shape and half-precision bytes of a tensor.
fn entry<const D: usize>(name: String, tensor: Tensor<D>) -> (String, Vec<usize>, Vec<u8>) {
    let shape = tensor.dims().to_vec();
    let values = tensor.into_data();
    let halves = values.iter::<f32>().map(half::f16::from_f32);
    (
        name,
        shape,
        halves.flat_map(half::f16::to_le_bytes).collect(),
    )
}

fn read<const D: usize>(
    weights: &mut Weights,
    name: &str,
    shape: [usize; D],
    device: &Device,
) -> Tensor<D> {
    Tensor::from_data(TensorData::new(weights.take(name, &shape), shape), device)
}

fn read_linear(
    weights: &mut Weights,
    name: &str,
    [inputs, outputs]: [usize; 2],
    device: &Device,
) -> Linear {
    let weight = read(
        weights,
        &format!("{name}.weight"),
        [outputs, inputs],
        device,
    );
    let bias = read(weights, &format!("{name}.bias"), [outputs], device);
    Linear {
        weight: Param::from_tensor(weight.transpose()),
        bias: Some(Param::from_tensor(bias)),
    }
}
