//! The text about an image, field by field.

use crate::{builtin, golden};
use fewstep_data::ImageShape;
use fewstep_data::image::Image;
use fewstep_diffusion::sampler::Sampler;
use fewstep_generate::{Generator, ImageRequest, Init, Request, Subject};
use std::sync::Arc;

fn text(generator: &Generator, change: impl Fn(&mut Request)) -> String {
    let mut request = generator.request(vec![ImageRequest::new(7, 3)]);
    request.steps = 4;
    request.sampler = Sampler::DDIM.into();
    change(&mut request);
    let version = format!(", Version: fewstep {}", env!("CARGO_PKG_VERSION"));
    let loras = ["<lora:ink:0.5>".to_string()];
    let text = generator.parameters("models/my model", &loras, &request, 0);
    text.strip_suffix(&version)
        .expect("the version is last")
        .into()
}

fn prompt(request: &mut Request) {
    request.images[0].subject = Subject::Prompt("a cat".into());
}

/// As web interfaces write it: the prompt, what it must not show, and the settings that matter.
#[test]
fn settings_are_written_as_web_interfaces_have_them() {
    let (pixels, sd1, sdxl) = (
        builtin("fashion-mnist", Some(4)),
        golden("sd1"),
        golden("sdxl"),
    );
    let edits = golden("instruct");
    assert_eq!(
        text(&pixels, |request| {
            request.images[0].subject = Subject::Class(7);
            request.images[0].w = Some(1.5);
        }),
        "Sneaker <lora:ink:0.5>\nSteps: 4, Sampler: ddim, CFG scale: 2.5, Seed: 7, \
         Size: 32x32, Model: my model, Image: 3"
    );
    assert_eq!(
        text(&sd1, |request| {
            prompt(request);
            request.negative = "rain".into();
            request.size = Some([24, 16]);
            request.images[0].clip_skip = Some(1);
        }),
        "a cat <lora:ink:0.5>\nNegative prompt: rain\nSteps: 4, Sampler: ddim, CFG scale: 1, Seed: 7, \
         Size: 16x24, Model: my model, Clip skip: 2, Image: 3"
    );
    let shape = ImageShape {
        channels: 3,
        height: 16,
        width: 24,
    };
    let image = Arc::new(Image::filled(shape, 90));
    assert_eq!(
        text(&sdxl, |request| {
            let image = image.clone();
            let strength = 0.6;
            request.images[0].init = Init::Image { image, strength };
        }),
        "<lora:ink:0.5>\nSteps: 4, Sampler: ddim, CFG scale: 1, Seed: 7, Size: 16x16, \
         Model: my model, Denoising strength: 0.6, Image: 3"
    );
    for (scale, said) in [(None, "1.5"), (Some(1.8), "1.8")] {
        let edited = text(&edits, |request| {
            prompt(request);
            let image = image.clone();
            request.images[0].init = Init::Instruct { image, scale };
        });
        let size = "Size: 24x16, Model: my model";
        assert!(
            edited.contains(&format!("{size}, Image CFG scale: {said}, Image: 3")),
            "{edited}"
        );
    }
}
