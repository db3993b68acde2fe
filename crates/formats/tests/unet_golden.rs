//! The pixel U-Net against diffusers' `UNet2DModel`, with weights read from files as diffusers
//! names them (tools/golden/formats_unet.py).

use burn::tensor::{Device, Tensor, TensorData};
use fewstep_diffusion::{Inputs, Network};
use fewstep_formats::Model;

#[derive(serde::Deserialize)]
struct Golden {
    z: Vec<f32>,
    time: Vec<f64>,
    classes: Vec<Option<u32>>,
    output: Vec<f32>,
}

fn compare(name: &str) {
    let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(path).expect("the golden file is committed");
    let (_, metadata) = safetensors::SafeTensors::read_metadata(&bytes).expect("a header");
    let entries = metadata.metadata().clone().expect("metadata");
    let golden: Golden = serde_json::from_str(&entries["golden"]).expect("golden numbers");
    let device = Device::flex();
    let model = Model::from_bytes(bytes, name, &device).expect("a model of ours");
    let batch = golden.time.len();
    let z = Tensor::from_data(TensorData::new(golden.z, [batch, 2, 8, 8]), &device);
    let inputs = Inputs {
        classes: Some(golden.classes),
        ..Inputs::default()
    };
    let output = model.network.forward(z, &golden.time, &inputs);
    let output = output.into_data().try_to_vec::<f32>().expect("f32 data");
    let scale = golden.output.iter().fold(0f32, |max, v| max.max(v.abs()));
    for (index, (ours, theirs)) in output.iter().zip(&golden.output).enumerate() {
        let error = (ours - theirs).abs() / scale;
        assert!(error < 1e-4, "value {index}: {ours} for {theirs}");
    }
}

#[test]
fn convolutional_resampling_equals_diffusers() {
    compare("unet_conv.safetensors");
}

#[test]
fn resampling_in_blocks_equals_diffusers() {
    compare("unet_resnet.safetensors");
}
