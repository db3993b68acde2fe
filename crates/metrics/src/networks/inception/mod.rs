//! The Inception network with which FID is defined.

mod blocks;
mod graph;
mod pool;
mod resize;

use super::batches::{Activations, run};
use super::layers::global_average;
use super::weights::{Weights, hash, read};
use crate::{FeatureId, FeatureKind, FeatureNetwork, Features, Images, MetricsError, Result};
use blocks::Trunk;
use burn::tensor::{Device, Tensor, TensorData};
use resize::resize;
use std::path::Path;

const FEATURES: usize = 2048;
/// 16 images need about 0.5 GB of activations.
const BATCH: usize = 16;
/// Under which name a file may have the head, and whether it is stored `[classes, 2048]`.
const HEADS: [(&str, bool); 3] = [
    ("fc.weight", true),
    ("softmax.weights", false),
    ("softmax/weights", false),
];

/// The Inception network of 2015-12-05, in the definition of pytorch-fid: pixels / 255, resized to
/// 299x299 bilinearly without corner alignment or antialiasing, `2x − 1`, pooling branches as that
/// network has them, 2048 pooled features. Grey images are repeated over three channels.
///
/// The weights are a safetensors file with the names of the TensorFlow graph (`conv.weight`,
/// `mixed_9.tower_1.conv.beta`, ...) or of pytorch-fid's checkpoint (`Conv2d_1a_3x3.conv.weight`,
/// ...). If it has the head too (`fc.weight` or `softmax.weights`), class probabilities come with
/// the features; the head's bias is not used, as in the original Inception score.
#[derive(Debug)]
pub struct InceptionFid {
    id: FeatureId,
    trunk: Trunk,
    head: Option<Tensor<2>>,
    device: Device,
}

impl InceptionFid {
    /// Reads the network from a file.
    ///
    /// # Errors
    /// When the file cannot be read or holds another network; the message lists what is missing and
    /// what has another shape.
    pub fn load(path: &Path, device: &Device) -> Result<Self> {
        Self::from_bytes(&read(path)?, &path.display().to_string(), device)
    }

    /// The network with the weights of a safetensors file in memory; `origin` names it in messages.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn from_bytes(bytes: &[u8], origin: &str, device: &Device) -> Result<Self> {
        let mut weights = Weights::parse(bytes, origin)?;
        let trunk = Trunk::read(&mut weights, device);
        let head = read_head(&mut weights, device);
        weights.finish("the FID Inception network (inception-2015-12-05)")?;
        Ok(Self {
            id: FeatureId {
                name: "inception-2015-12-05".to_owned(),
                hash: hash(bytes),
                kind: FeatureKind::Inception,
            },
            trunk,
            head,
            device: device.clone(),
        })
    }

    /// `x` in [0, 1], any size.
    fn forward(&self, x: Tensor<4>) -> Activations {
        let x = resize(x) * 2.0 - 1.0;
        let x = if x.dims()[1] == 1 {
            x.repeat_dim(1, 3)
        } else {
            x
        };
        let features = global_average(self.trunk.forward(x));
        let logits = self.head.clone().map(|head| features.clone().matmul(head));
        Activations { features, logits }
    }
}

impl FeatureNetwork for InceptionFid {
    fn id(&self) -> &FeatureId {
        &self.id
    }

    fn dim(&self) -> usize {
        FEATURES
    }

    fn features(&self, images: &Images) -> Result<Features> {
        if ![1, 3].contains(&images.channels) {
            return Err(MetricsError::ImageShape {
                network: self.id.name.clone(),
                expected: "grey or RGB",
                got: images.shape(),
            });
        }
        run(images, BATCH, FEATURES, &self.device, |x| self.forward(x))
    }
}

/// The head as `[2048, classes]`, if the file has one.
fn read_head(weights: &mut Weights, device: &Device) -> Option<Tensor<2>> {
    HEADS.into_iter().find_map(|(name, classes_first)| {
        let shape = weights.shape(name)?;
        let classes = shape.iter().product::<usize>() / FEATURES;
        let expected = if classes_first {
            [classes, FEATURES]
        } else {
            [FEATURES, classes]
        };
        let data = TensorData::new(weights.take(name, &expected), expected);
        let head = Tensor::from_data(data, device);
        Some(if classes_first {
            head.transpose()
        } else {
            head
        })
    })
}
