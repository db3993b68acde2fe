//! The embedded classifier and its reference statistics belong together.

#![allow(clippy::unwrap_used)]

use burn::tensor::Device;
use fewstep_metrics::{FeatureNetwork, Images, Reference, SmallClassifier};

const WEIGHTS: &[u8] = include_bytes!("../../../assets/fashion-mnist-classifier.safetensors");
const TRAIN: &[u8] = include_bytes!("../../../assets/fashion-mnist-classifier-train.safetensors");

#[test]
fn the_reference_was_made_with_these_weights() {
    let classifier = SmallClassifier::from_bytes(WEIGHTS, &Device::flex()).unwrap();
    assert!(classifier.test_accuracy().unwrap() >= 0.91);
    let reference = Reference::from_bytes(TRAIN, "train").unwrap();
    reference.check(&classifier).unwrap();
    assert_eq!(reference.statistics.count, 60_000);
    assert_eq!(reference.statistics.dim(), classifier.dim());
}

#[test]
fn other_weights_are_told_from_these() {
    let reference = Reference::from_bytes(TRAIN, "train").unwrap();
    let mut other = WEIGHTS.to_vec();
    *other.last_mut().unwrap() ^= 1;
    let other = SmallClassifier::from_bytes(&other, &Device::flex()).unwrap();
    let message = reference.check(&other).unwrap_err().to_string();
    assert!(
        message.contains("make them again with this network"),
        "{message}"
    );
}

/// A plain T-shirt, drawn by hand, is class 0.
#[test]
fn a_drawn_shirt_is_a_shirt() {
    let mut pixels = vec![0u8; 32 * 32];
    for y in 5..28 {
        let half = if y < 12 { 11 } else { 6 };
        pixels[y * 32 + 16 - half..y * 32 + 16 + half].fill(180);
    }
    pixels[5 * 32 + 13..5 * 32 + 19].fill(0);
    let classifier = SmallClassifier::from_bytes(WEIGHTS, &Device::flex()).unwrap();
    let features = classifier
        .features(&Images::new(1, 32, 32, &pixels).unwrap())
        .unwrap();
    let class = features.probabilities.unwrap().classes_of_rows()[0];
    assert!(
        [0, 6].contains(&class),
        "neither a T-shirt nor a shirt: {class}"
    );
}
