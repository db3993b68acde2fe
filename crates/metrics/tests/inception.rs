//! The FID network against pytorch-fid's: golden values of `tools/golden/metrics_inception.py`.

#![allow(clippy::unwrap_used)]

use burn::tensor::Device;
use fewstep_metrics::{
    FeatureNetwork, Features, Images, InceptionFid, MetricsError, Statistics, frechet_distance,
};
use safetensors::{Dtype, tensor::TensorView};
use serde::Deserialize;
use std::path::Path;

#[derive(Deserialize)]
struct Golden {
    /// Name in the TensorFlow graph, name in pytorch-fid, shape of the weight.
    #[serde(default)]
    layers: Vec<(String, String, [usize; 4])>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    shape: [usize; 3],
    count: usize,
    /// Every 171st feature.
    features: Vec<Vec<f64>>,
    /// Sum of all features of an image.
    sums: Vec<f64>,
    /// The first four probabilities of the head of the formula.
    probabilities: Vec<Vec<f64>>,
    frechet_distance_of_halves: Option<f64>,
}

/// The images of the script.
fn pixels(case: &Case) -> Vec<u8> {
    let [channels, height, width] = case.shape;
    let mut pixels = Vec::with_capacity(case.count * channels * height * width);
    for n in 0..case.count {
        for c in 0..channels {
            for y in 0..height {
                for x in 0..width {
                    let wave = (3 + n) * y + (5 + 2 * c) * x;
                    let wave = wave + y * x * (1 + n % 3) / 7 + 37 * n + 59 * c;
                    pixels.push((wave % 256) as u8);
                }
            }
        }
    }
    pixels
}

fn features(network: &InceptionFid, case: &Case) -> Features {
    let [channels, height, width] = case.shape;
    let pixels = pixels(case);
    let images = Images::new(channels, height, width, &pixels).unwrap();
    network.features(&images).unwrap()
}

#[track_caller]
fn assert_close(got: f64, expected: f64, scale: f64) {
    let close = (got - expected).abs() <= 1e-3 * scale;
    assert!(close, "got {got}, expected {expected} (scale {scale})");
}

fn check_features(features: &Features, case: &Case) {
    assert_eq!((features.count(), features.dim), (case.count, 2048));
    for (i, row) in features.rows().enumerate() {
        let sum: f64 = row.iter().map(|v| f64::from(*v)).sum();
        assert_close(sum, case.sums[i], case.sums[i]);
        // A feature near zero is compared on the scale of the mean one.
        let mean = case.sums[i] / 2048.0;
        for (got, expected) in row.iter().step_by(171).zip(&case.features[i]) {
            assert_close(f64::from(*got), *expected, expected.max(mean));
        }
    }
}

/// The script's noise in [-0.5, 0.5).
fn noise(count: usize, index: u64, scale: f32) -> Vec<f32> {
    let mask = 0xFFFF_FFFF;
    let value = |i: u64| {
        let h = (i * 2_654_435_761 + index * 40_503) & mask;
        let h = ((h ^ (h >> 15)) * 2_246_822_519) & mask;
        ((h ^ (h >> 13)) as f64 / 4_294_967_296.0 - 0.5) as f32 * scale
    };
    (0..count as u64).map(value).collect()
}

/// The script's weights under one of the two namings, the second with the script's head.
fn formula_weights(layers: &[(String, String, [usize; 4])], torch_names: bool) -> Vec<u8> {
    let mut tensors: Vec<(String, Vec<usize>, Vec<f32>)> = Vec::new();
    let mut add =
        |name: String, shape: &[usize], values| tensors.push((name, shape.to_vec(), values));
    for (index, (graph, torch, shape)) in layers.iter().enumerate() {
        let (size, fan_in): (usize, usize) = (shape.iter().product(), shape[1..].iter().product());
        let name = if torch_names { torch } else { graph };
        let keys = match torch_names {
            true => [
                "conv.weight",
                "bn.bias",
                "bn.running_mean",
                "bn.running_var",
            ],
            false => ["weight", "beta", "mean", "var"],
        };
        let index = index as u64;
        let weight = noise(size, index, (24.0 / fan_in as f32).sqrt());
        let var = noise(shape[0], index + 300, 1.0)
            .into_iter()
            .map(|v| 1.0 + v);
        add(format!("{name}.{}", keys[0]), shape, weight);
        add(
            format!("{name}.{}", keys[1]),
            &shape[..1],
            noise(shape[0], index + 100, 0.2),
        );
        add(
            format!("{name}.{}", keys[2]),
            &shape[..1],
            noise(shape[0], index + 200, 0.2),
        );
        add(format!("{name}.{}", keys[3]), &shape[..1], var.collect());
        if torch_names {
            add(
                format!("{name}.bn.weight"),
                &shape[..1],
                vec![1.0; shape[0]],
            );
        }
    }
    if torch_names {
        let value = |i: usize| ((i / 2048 * 31 + i % 2048 * 17) % 101) as f32 / 5050.0 - 0.01;
        add(
            "fc.weight".into(),
            &[1008, 2048],
            (0..1008 * 2048).map(value).collect(),
        );
    }
    serialize(&tensors)
}

fn serialize(tensors: &[(String, Vec<usize>, Vec<f32>)]) -> Vec<u8> {
    let bytes = tensors
        .iter()
        .map(|(_, _, v)| v.iter().flat_map(|v| v.to_le_bytes()).collect());
    let bytes: Vec<Vec<u8>> = bytes.collect();
    let views = std::iter::zip(tensors, &bytes).map(|((name, shape, _), bytes)| {
        (
            name,
            TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap(),
        )
    });
    safetensors::serialize(views, None).unwrap()
}

#[test]
fn the_whole_network_equals_pytorch_fid_under_both_namings() {
    let golden: Golden =
        serde_json::from_str(include_str!("golden/inception_formula.json")).unwrap();
    for torch_names in [false, true] {
        let bytes = formula_weights(&golden.layers, torch_names);
        let network = InceptionFid::from_bytes(&bytes, "formula", &Device::flex()).unwrap();
        for case in &golden.cases {
            let features = features(&network, case);
            check_features(&features, case);
            assert_eq!(
                features.probabilities.is_some(),
                torch_names,
                "only with a head"
            );
            for row in features.probabilities.iter().flat_map(|p| p.rows()) {
                assert_eq!(row.len(), 1008);
                for (got, expected) in std::iter::zip(row, &case.probabilities[0]) {
                    assert_close(f64::from(*got), *expected, *expected);
                }
            }
        }
    }
}

#[test]
fn a_foreign_file_is_refused_with_what_is_missing() {
    let bytes = serialize(&[("conv.weight".into(), vec![32, 3, 3, 1], vec![0.0; 288])]);
    let error = InceptionFid::from_bytes(&bytes, "other.safetensors", &Device::flex()).unwrap_err();
    let message = error.to_string();
    for part in [
        "other.safetensors does not hold the FID Inception network",
        "`conv.weight` is [32, 3, 3, 1], not [32, 3, 3, 3]",
        "`conv.beta` [32] is missing",
        "and 368 more",
    ] {
        assert!(message.contains(part), "{message}");
    }
    let missing = InceptionFid::load(Path::new("/nowhere.safetensors"), &Device::flex());
    assert!(matches!(missing, Err(MetricsError::File { .. })));
}

/// Needs the real weights: `FEWSTEP_INCEPTION=inception_fid.safetensors cargo test --release`.
#[test]
fn the_real_weights_give_what_pytorch_fid_gives() {
    let Some(path) = std::env::var_os("FEWSTEP_INCEPTION") else {
        return;
    };
    let golden: Golden =
        serde_json::from_str(include_str!("golden/inception_weights.json")).unwrap();
    let network = InceptionFid::load(Path::new(&path), &Device::flex()).unwrap();
    for case in &golden.cases {
        let features = features(&network, case);
        check_features(&features, case);
        let Some(expected) = case.frechet_distance_of_halves else {
            continue;
        };
        let (first, second) = features.values.split_at(features.values.len() / 2);
        let statistics = |half: &[f32]| {
            let half = Features::new(2048, half.to_vec()).unwrap();
            Statistics::of(&half).unwrap()
        };
        let distance = frechet_distance(&statistics(first), &statistics(second)).unwrap();
        assert_close(distance, expected, expected);
    }
}
