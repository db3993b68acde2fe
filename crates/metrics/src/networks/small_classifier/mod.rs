//! The small classifier for grey 32x32 images.

mod net;

pub use net::ClassifierNet;

use super::batches::{Activations, run};
use super::weights::{hash, metadata};
use crate::{FeatureId, FeatureKind, FeatureNetwork, Features, Images, MetricsError, Result};
use burn::tensor::Device;
use net::{FEATURES, SIDE};

const BATCH: usize = 256;
const DEFAULT_NAME: &str = "small-classifier";

/// A small convolutional classifier of grey 32x32 images as a feature network: 128 features and
/// 10 class probabilities, thousands of images a second on a processor.
///
/// Distances measured with it compare models of the same data with each other. They say nothing
/// about published FIDs, and are labelled so.
#[derive(Debug)]
pub struct SmallClassifier {
    id: FeatureId,
    test_accuracy: Option<f64>,
    net: ClassifierNet,
    device: Device,
}

impl SmallClassifier {
    /// The classifier with the weights of a safetensors file, whose metadata names it (`name`) and
    /// states how good it is (`test_accuracy`).
    ///
    /// # Errors
    /// When the bytes hold another network.
    pub fn from_bytes(bytes: &[u8], device: &Device) -> Result<Self> {
        let mut metadata = metadata(bytes, DEFAULT_NAME)?;
        let name = metadata
            .remove("name")
            .unwrap_or_else(|| DEFAULT_NAME.to_owned());
        let accuracy = metadata.remove("test_accuracy");
        Ok(Self {
            net: ClassifierNet::from_bytes(bytes, &name, device)?,
            id: FeatureId {
                name,
                hash: hash(bytes),
                kind: FeatureKind::Classifier,
            },
            test_accuracy: accuracy.and_then(|a| a.parse().ok()),
            device: device.clone(),
        })
    }

    /// Share of test images that it names rightly, if its file says so.
    pub fn test_accuracy(&self) -> Option<f64> {
        self.test_accuracy
    }
}

impl FeatureNetwork for SmallClassifier {
    fn id(&self) -> &FeatureId {
        &self.id
    }

    fn dim(&self) -> usize {
        FEATURES
    }

    fn features(&self, images: &Images) -> Result<Features> {
        if images.shape() != [1, SIDE, SIDE] {
            return Err(MetricsError::ImageShape {
                network: self.id.name.clone(),
                expected: "grey 32x32",
                got: images.shape(),
            });
        }
        run(images, BATCH, FEATURES, &self.device, |x| {
            let (features, logits) = self.net.forward(x);
            Activations {
                features,
                logits: Some(logits),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn classifier() -> SmallClassifier {
        let device = Device::flex();
        let metadata = [("name", "test"), ("test_accuracy", "0.5")];
        let metadata = HashMap::from(metadata.map(|(k, v)| (k.to_owned(), v.to_owned())));
        let bytes = ClassifierNet::init(&device).to_bytes(metadata).unwrap();
        SmallClassifier::from_bytes(&bytes, &device).unwrap()
    }

    #[test]
    fn batches_do_not_change_the_features() {
        let pixels: Vec<u8> = (0..(BATCH + 3) * 1024)
            .map(|i| (i * 31 % 251) as u8)
            .collect();
        let all = Images::new(1, 32, 32, &pixels).unwrap();
        let classifier = classifier();
        assert_eq!(classifier.test_accuracy(), Some(0.5));
        let together = classifier.features(&all).unwrap();
        assert_eq!(
            (together.count(), together.dim),
            (BATCH + 3, classifier.dim())
        );
        let last = Images::new(1, 32, 32, &pixels[(BATCH + 2) * 1024..]).unwrap();
        let alone = classifier.features(&last).unwrap();
        let expected = together.rows().last().unwrap();
        let close = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-5;
        assert!(std::iter::zip(&alone.values, expected).all(close));
        let probabilities = together.probabilities.unwrap();
        assert!(
            probabilities
                .rows()
                .all(|r| (r.iter().sum::<f32>() - 1.0).abs() < 1e-5)
        );
    }

    #[test]
    fn colour_images_are_refused() {
        let pixels = [0; 3 * 1024];
        let error = classifier()
            .features(&Images::new(3, 32, 32, &pixels).unwrap())
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "test takes grey 32x32 images, got [3, 32, 32] (channels, height, width)"
        );
    }

    #[test]
    fn foreign_weights_are_refused_with_what_is_missing() {
        let file =
            safetensors::serialize(Vec::<(&str, safetensors::tensor::TensorView)>::new(), None);
        let error = SmallClassifier::from_bytes(&file.unwrap(), &Device::flex()).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("`convs.0.weight` [32, 1, 3, 3] is missing"),
            "{error}"
        );
    }
}
