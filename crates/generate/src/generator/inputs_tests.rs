//! What a network is given for the images of a request.

use super::*;
use crate::ModelSource;
use fewstep_data::ImageShape;
use fewstep_diffusion::{ControlSpec, Task};
use std::sync::Arc;

fn latents(name: &str) -> Generator {
    let folder = format!(
        "{}/../formats/tests/golden/latent/{name}",
        env!("CARGO_MANIFEST_DIR")
    );
    let device = Device::flex();
    let pipeline = Pipeline::load(folder.as_ref(), &device).expect("a model");
    Generator::latent(pipeline, KeepEncoder::Always, &device).expect("a generator")
}

fn controlled(task: Task, shape: [usize; 3]) -> Generator {
    let device = Device::flex();
    let source = ModelSource::find("builtin:fashion-mnist-teacher", None);
    let model = source.and_then(|source| source.model(&device));
    let mut model = model.expect("embedded");
    model.recipe.control = Some(ControlSpec { task, shape });
    Generator::new(model, &device).expect("a generator")
}

fn inputs(generator: &Generator, images: &[ImageRequest], sides: [usize; 2]) -> Inputs {
    let inputs = generator.all_inputs(images, "", sides);
    inputs.expect("the text encoder is there")
}

/// SDXL is told the size of each image in pixels, of which there are two for a latent here.
#[test]
fn networks_that_take_sizes_are_told_them() {
    let images = [ImageRequest::new(0, 0), ImageRequest::new(0, 1)];
    let told = inputs(&latents("sdxl"), &images, [8, 12]).time_ids;
    assert_eq!(told, Some(vec![TimeIds::whole([16, 24]); 2]));
    assert_eq!(inputs(&latents("sd1"), &images, [8, 12]).time_ids, None);
}

/// Control images in the order of the images, or made of image and mask where the model inpaints from
/// them; none where an image has none.
#[test]
fn networks_are_given_the_control_images() {
    let generator = controlled(Task::Image, [2, 1, 3]);
    let image = |values: [f32; 6]| ImageRequest {
        control: Some(Arc::new(ControlImage {
            values: values.to_vec(),
            shape: [2, 1, 3],
        })),
        ..ImageRequest::new(0, 0)
    };
    let values = [
        [0.0, 0.1, 0.2, 0.3, 0.4, 0.5],
        [1.0, 0.9, 0.8, 0.7, 0.6, 0.5],
    ];
    let images = values.map(image);
    let given = inputs(&generator, &images, [32, 32]).control;
    let given = given.expect("control images");
    assert_eq!(given.dims(), [2, 2, 1, 3]);
    let given: Vec<f32> = given.into_data().try_to_vec().expect("f32 data");
    assert_eq!(given, values.concat());
    let one_without = [images[0].clone(), ImageRequest::new(0, 1)];
    let given = inputs(&generator, &one_without, [32, 32]).control;
    assert!(given.is_none());

    let shape = ImageShape {
        channels: 1,
        height: 1,
        width: 2,
    };
    let picture = |pixels: [u8; 2]| {
        Arc::new(Image {
            shape,
            pixels: pixels.to_vec(),
        })
    };
    let fill = ImageRequest {
        init: Init::Inpaint {
            image: picture([255, 255]),
            mask: picture([0, 255]),
        },
        ..ImageRequest::new(0, 0)
    };
    let images = std::slice::from_ref(&fill);
    let inpaints = controlled(Task::Inpaint, [2, 1, 2]);
    let made = inputs(&inpaints, images, [32, 32]).control;
    let made: Vec<f32> = made.expect("made").into_data().try_to_vec().expect("f32");
    assert_eq!(made, [1.0, 0.0, 0.0, 1.0]);
    assert_eq!(inpaints.control_shape(&fill), Some([2, 1, 2]));
    // Another control image is not made of them.
    assert!(inputs(&generator, images, [32, 32]).control.is_none());
    assert_eq!(generator.control_shape(&fill), None);
}
