//! LPIPS against the lpips package's: golden values of `tools/golden/metrics_lpips.py`.

#![allow(clippy::unwrap_used)]

use burn::tensor::{Device, Tensor, TensorData};
use fewstep_metrics::{Images, Lpips, MetricsError};
use safetensors::{Dtype, tensor::TensorView};
use serde::Deserialize;
use std::path::Path;

#[derive(Deserialize)]
struct Golden {
    nets: Vec<Net>,
}

#[derive(Deserialize)]
struct Net {
    net: String,
    /// Name in the package and shape of every tensor.
    #[serde(default)]
    layers: Vec<(String, Vec<usize>)>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    shape: [usize; 3],
    distances: Vec<f64>,
    /// Every 97th value of the gradient with respect to the restored images.
    gradient: Vec<f64>,
    gradient_norm: f64,
}

/// The images of the script.
fn pixels([channels, height, width]: [usize; 3], restored: bool) -> Vec<u8> {
    let mut pixels = vec![];
    for n in 0..2 {
        for c in 0..channels {
            for y in 0..height {
                for x in 0..width {
                    let truth = (3 + n) * y + (5 + 2 * c) * x + y * x / 7 + 37 * n + 59 * c;
                    let wave = (x * y + 11 * c) % (20 + 30 * n);
                    pixels.push(((truth % 256 + usize::from(restored) * wave) % 256) as u8);
                }
            }
        }
    }
    pixels
}

fn tensor(shape: [usize; 3], restored: bool) -> Tensor<4> {
    let [channels, height, width] = shape;
    let values = pixels(shape, restored).into_iter();
    let values: Vec<f32> = values.map(|p| f32::from(p) / 127.5 - 1.0).collect();
    let data = TensorData::new(values, [2, channels, height, width]);
    Tensor::from_data(data, &Device::flex())
}

#[track_caller]
fn assert_close(got: f64, expected: f64, scale: f64) {
    let close = (got - expected).abs() <= 1e-3 * scale;
    assert!(close, "got {got}, expected {expected} (scale {scale})");
}

fn check(network: &Lpips, case: &Case) {
    let [channels, height, width] = case.shape;
    let (restored, truth) = (pixels(case.shape, true), pixels(case.shape, false));
    let images = |pixels| Images::new(channels, height, width, pixels).unwrap();
    let measured = network.distances(images(&restored), images(&truth));
    for (got, expected) in measured.unwrap().into_iter().zip(&case.distances) {
        assert_close(got, *expected, *expected);
    }
    let a = Tensor::from_inner(tensor(case.shape, true)).require_grad();
    let gradients = network
        .between(a.clone(), tensor(case.shape, false))
        .sum()
        .backward();
    let gradient = a.grad(&gradients).unwrap().into_data();
    let gradient: Vec<f64> = gradient.iter::<f32>().map(f64::from).collect();
    let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
    assert_close(norm, case.gradient_norm, case.gradient_norm);
    for (got, expected) in gradient.iter().step_by(97).zip(&case.gradient) {
        assert_close(*got, *expected, case.gradient_norm);
    }
}

/// The script's noise in [-0.5, 0.5).
fn noise(count: usize, index: u64) -> impl Iterator<Item = f64> {
    let mask = 0xFFFF_FFFF;
    (0..count as u64).map(move |i| {
        let h = (i * 2_654_435_761 + index * 40_503) & mask;
        let h = ((h ^ (h >> 15)) * 2_246_822_519) & mask;
        (h ^ (h >> 13)) as f64 / 4_294_967_296.0 - 0.5
    })
}

/// The script's weights, as the package names them.
fn formula(layers: &[(String, Vec<usize>)]) -> Vec<(String, Vec<usize>, Vec<f32>)> {
    let with_values = (0..).zip(layers).map(|(index, (name, shape))| {
        let size: usize = shape.iter().product();
        let fan_in: usize = shape[1..].iter().product();
        let scale = match shape.len() {
            4 => (24.0 / fan_in as f64).sqrt(),
            _ => 0.2,
        };
        let offset = if name.starts_with("lin") { 0.5 } else { 0.0 };
        let values = noise(size, index).map(|v| (v * scale + offset) as f32);
        (name.clone(), shape.clone(), values.collect())
    });
    with_values.collect()
}

/// The same weights under the names and in the layout of the port to JAX.
fn ported(
    tensors: &[(String, Vec<usize>, Vec<f32>)],
    net: &str,
) -> Vec<(String, Vec<usize>, Vec<f32>)> {
    let trunk = if net == "alex" {
        "AlexNet_0"
    } else {
        "VGG16_0"
    };
    let mut convs = 0;
    let renamed = tensors.iter().map(|(name, shape, values)| {
        let [stem, kind] =
            [name.split('.').next(), name.split('.').next_back()].map(Option::unwrap);
        let new = match stem.strip_prefix("lin") {
            Some(stage) => format!("NetLinLayer_{stage}.Conv_0.kernel"),
            None => {
                let kind = if kind == "weight" { "kernel" } else { kind };
                format!("{trunk}.Conv_{}.{kind}", convs / 2)
            }
        };
        convs += usize::from(!stem.starts_with("lin"));
        let [out, inputs, height, width] = match shape[..] {
            [out, inputs, height, width] => [out, inputs, height, width],
            _ => return (new, shape.clone(), values.clone()),
        };
        let mut moved = Vec::with_capacity(values.len());
        for place in 0..height * width {
            for i in 0..inputs {
                for o in 0..out {
                    moved.push(values[(o * inputs + i) * height * width + place]);
                }
            }
        }
        (new, vec![height, width, inputs, out], moved)
    });
    renamed.collect()
}

fn serialize(tensors: &[(String, Vec<usize>, Vec<f32>)]) -> Vec<u8> {
    let bytes = tensors
        .iter()
        .map(|(_, _, v)| v.iter().flat_map(|v| v.to_le_bytes()).collect());
    let bytes: Vec<Vec<u8>> = bytes.collect();
    let views = std::iter::zip(tensors, &bytes).map(|((name, shape, _), bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap();
        (name, view)
    });
    safetensors::serialize(views, None).unwrap()
}

#[test]
fn distances_and_gradients_equal_the_packages_under_both_namings() {
    let golden: Golden = serde_json::from_str(include_str!("golden/lpips_formula.json")).unwrap();
    for net in &golden.nets {
        let tensors = formula(&net.layers);
        for tensors in [&ported(&tensors, &net.net), &tensors] {
            let bytes = serialize(tensors);
            let network = Lpips::from_bytes(&bytes, "formula", &Device::flex()).unwrap();
            assert!(network.id().starts_with(&format!("LPIPS 0.1 {}", net.net)));
            net.cases.iter().for_each(|case| check(&network, case));
        }
    }
}

#[test]
fn equal_images_have_no_distance_and_a_finite_gradient() {
    let golden: Golden = serde_json::from_str(include_str!("golden/lpips_formula.json")).unwrap();
    let bytes = serialize(&formula(&golden.nets[0].layers));
    let network = Lpips::from_bytes(&bytes, "formula", &Device::flex()).unwrap();
    let black = Tensor::<4>::full([1, 1, 32, 32], -1.0, &Device::flex());
    let a = Tensor::from_inner(black.clone()).require_grad();
    let distance = network.between(a.clone(), black);
    let gradient = a.grad(&distance.clone().sum().backward()).unwrap();
    assert_eq!(distance.into_data().iter::<f32>().next(), Some(0.0));
    assert!(gradient.into_data().iter::<f32>().all(f32::is_finite));
    for shape in [[3, 16, 64], [2, 64, 64]] {
        let message = network.check(shape).unwrap_err().to_string();
        assert!(message.contains("31x31 and larger"), "{message}");
    }
}

#[test]
fn a_foreign_file_is_refused_with_what_is_missing() {
    let bytes = serialize(&[("conv.weight".into(), vec![1], vec![0.0])]);
    let error = Lpips::from_bytes(&bytes, "other.safetensors", &Device::flex()).unwrap_err();
    let message = error.to_string();
    for part in [
        "other.safetensors does not hold LPIPS",
        "`net.slice1.0.weight`",
        "and 7 more",
    ] {
        assert!(message.contains(part), "{message}");
    }
    let missing = Lpips::load(Path::new("/nowhere.safetensors"), &Device::flex());
    assert!(matches!(missing, Err(MetricsError::File { .. })));
}

/// Needs the real weights: `FEWSTEP_LPIPS=FOLDER cargo test --release`, with
/// `lpips_alexnet.safetensors` and `lpips_vgg16.safetensors` in the folder.
#[test]
fn the_real_weights_give_what_the_package_gives() {
    let Some(folder) = std::env::var_os("FEWSTEP_LPIPS") else {
        return;
    };
    let golden: Golden = serde_json::from_str(include_str!("golden/lpips_weights.json")).unwrap();
    for (net, file) in golden.nets.iter().zip(["alexnet", "vgg16"]) {
        let file = Path::new(&folder).join(format!("lpips_{file}.safetensors"));
        let network = Lpips::load(&file, &Device::flex()).unwrap();
        net.cases.iter().for_each(|case| check(&network, case));
    }
}
