//! Editing by instruction against diffusers (tools/golden/instruct.py).

use super::*;
use crate::KeepEncoder;
use fewstep_data::ImageShape;
use safetensors::SafeTensors;
use std::sync::Arc;

const FOLDER: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../formats/tests/golden/latent/instruct"
);

/// A stored tensor.
fn golden(name: &str) -> Vec<f32> {
    let stored = std::fs::read(format!("{FOLDER}/golden.safetensors")).expect("a file");
    let stored = SafeTensors::deserialize(&stored).expect("tensors");
    let tensor = stored.tensor(name).expect("a stored tensor");
    let bytes = tensor.data().chunks_exact(4);
    bytes
        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        .collect()
}

fn assert_close(what: &str, ours: &[f32], theirs: &[f32], tolerance: f32) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    for (index, (a, b)) in ours.iter().zip(theirs).enumerate() {
        assert!((a - b).abs() < tolerance, "{what} {index}: {a} for {b}");
    }
}

fn generator() -> Generator {
    let device = Device::flex();
    let pipeline = Pipeline::load(FOLDER.as_ref(), &device).expect("a model");
    Generator::latent(pipeline, KeepEncoder::Always, &device).expect("a generator")
}

/// The edit of the golden numbers.
fn edit() -> ImageRequest {
    let pixels = golden("edit.source");
    ImageRequest {
        subject: Subject::Prompt("a photograph of the cat".into()),
        w: Some(3.0),
        init: Init::Instruct {
            image: Arc::new(image_of(&pixels)),
            scale: Some(1.7),
        },
        ..ImageRequest::new(0, 0)
    }
}

/// An image of 16x16 pixels.
fn image_of(values: &[f32]) -> Image {
    Image {
        shape: ImageShape {
            channels: 3,
            height: 16,
            width: 16,
        },
        pixels: values.iter().map(|&value| value as u8).collect(),
    }
}

/// The whole way of diffusers' pipeline, with both guidances and a negative prompt.
#[test]
fn edits_equal_those_of_diffusers() {
    let (generator, edit) = (generator(), edit());
    let inputs = generator.all_inputs(std::slice::from_ref(&edit), "dogs", [8, 8]);
    let inputs = inputs.expect("inputs");
    let values = |tensor: Tensor<4>| -> Vec<f32> {
        let values = tensor.into_data().try_to_vec();
        values.expect("f32 data")
    };
    let concat = inputs.concat.clone().expect("a source image");
    assert_close(
        "concat",
        &values(concat),
        &golden("edit.concat")[..256],
        1e-4,
    );
    let start = TensorData::new(golden("edit.start"), [1, 4, 8, 8]);
    let noise = Tensor::from_data(start, &generator.device);
    let config = generator.default_sampler();
    let keys = [(0, 0)];
    let mut observer = |_: sampler::Step<'_>| ControlFlow::Continue(());
    let made = generator.sample(noise, &inputs, config, 5, &keys, &mut observer);
    let made = made.expect("latents");
    assert_close(
        "latent",
        &values(made.clone()),
        &golden("edit.latents"),
        1e-3,
    );
    let image = generator.pixels(made) * 0.5 + 0.5;
    let image = values(image.clamp(0.0, 1.0));
    assert_close("pixel", &image, &golden("edit.image"), 1e-4);
}

/// The result has the size of its source image, other sizes are refused, and every step is three
/// network calls.
#[test]
fn requests_need_a_source_image_and_take_its_size() {
    let generator = generator();
    let refused = |init: Init| {
        let request = generator.request(vec![ImageRequest { init, ..edit() }]);
        let error = generator.check(&request).expect_err("not for this model");
        error.to_string()
    };
    assert!(refused(Init::Noise).contains("by instruction"));
    let of = |height, width| {
        let shape = ImageShape {
            channels: 3,
            height,
            width,
        };
        let pixels = vec![128; shape.len()];
        Arc::new(Image { shape, pixels })
    };
    let instruct = |image, scale| Init::Instruct {
        image,
        scale: Some(scale),
    };
    assert!(refused(instruct(of(16, 18), 1.5)).contains("16x16"));
    assert!(refused(instruct(of(16, 16), 1e9)).contains("image guidance scale"));
    let init = instruct(of(16, 24), 1.5);
    let mut request = generator.request(vec![ImageRequest { init, ..edit() }]);
    request.steps = 1;
    let made = generator.generate(&request, &mut ignore).expect("an image");
    assert_eq!((made[0].shape.height, made[0].shape.width), (16, 24));
    for w in [None, Some(0.0), Some(3.0)] {
        assert_eq!(generator.network_calls(Sampler::DDIM.into(), 5, w), 15);
    }
}
