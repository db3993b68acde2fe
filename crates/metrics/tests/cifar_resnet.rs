//! The CIFAR ResNet with real weights on real images.

#![allow(clippy::unwrap_used)]

use burn::tensor::Device;
use fewstep_data::{DataConfig, DataKind, Split, load};
use fewstep_metrics::{CifarResNet, FeatureNetwork, Images};
use std::path::Path;

/// Needs the weights and the images:
/// `FEWSTEP_CIFAR_RESNET=resnet20.safetensors FEWSTEP_CIFAR10=FOLDER cargo test --release`.
///
/// Published test accuracies are 91.7 % (ResNet-20) to 93.6 % (ResNet-110); any mistake in the
/// network costs tens of points.
#[test]
fn the_first_thousand_test_images_are_named_rightly() {
    let variables = ["FEWSTEP_CIFAR_RESNET", "FEWSTEP_CIFAR10"].map(std::env::var_os);
    let [Some(weights), Some(images)] = variables else {
        return;
    };
    let data = load(&DataConfig {
        split: Split::Test,
        ..DataConfig::new(DataKind::Cifar10, images)
    });
    let data = data.unwrap();
    let pixels: Vec<u8> = (0..1000).flat_map(|i| data.pixels(i)).copied().collect();
    let network = CifarResNet::load(Path::new(&weights), &Device::flex()).unwrap();
    let features = network
        .features(&Images::new(3, 32, 32, &pixels).unwrap())
        .unwrap();
    assert_eq!((features.count(), features.dim), (1000, network.dim()));
    let classes = features.probabilities.unwrap().classes_of_rows();
    let right = (0..1000)
        .filter(|&i| data.label(i) == Some(classes[i] as u32))
        .count();
    println!("{}: {right} of 1000", network.id());
    assert!(right >= 905, "{right} of 1000");
}
