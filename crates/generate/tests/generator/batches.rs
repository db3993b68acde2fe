//! Which images share a network call, which changes none of them, and what stays between requests.

use crate::{copy_folder, generate, golden, golden_path};
use burn::tensor::Device;
use fewstep_data::ImageShape;
use fewstep_data::image::Image;
use fewstep_diffusion::SamplerRecipe;
use fewstep_formats::Pipeline;
use fewstep_generate::{
    Generator, ImageRequest, Init, KeepEncoder, LoadOptions, ModelSource, Request, Subject, ignore,
};
use std::ops::ControlFlow;
use std::sync::Arc;

fn grey(channels: usize, value: u8) -> Arc<Image> {
    let shape = ImageShape {
        channels,
        height: 16,
        width: 16,
    };
    Arc::new(Image::filled(shape, value))
}

fn request(generator: &Generator, inits: Vec<Init>) -> Request {
    let images = inits
        .into_iter()
        .zip(0..)
        .map(|(init, index)| ImageRequest {
            subject: Subject::Prompt("a cat".into()),
            init,
            ..ImageRequest::new(5, index)
        });
    Request {
        steps: 2,
        batch: 8,
        ..generator.request(images.collect())
    }
}

/// Images that start at the same time go through the network together, whatever they start from, and
/// each is the one that it is by itself.
#[test]
fn images_that_start_together_share_calls() {
    let change = |value, strength| Init::Image {
        image: grey(3, value),
        strength,
    };
    let fill = |value| Init::Inpaint {
        image: grey(3, value),
        mask: grey(1, 255),
    };
    let edit = |value| Init::Instruct {
        image: grey(3, value),
        scale: None,
    };
    let starts = vec![
        Init::Noise,
        Init::Noise,
        change(40, 0.5),
        change(40, 0.5),
        change(200, 0.5),
        change(200, 0.25),
    ];
    for (name, inits, batches) in [
        ("sd1", starts, 3),
        ("inpaint", vec![fill(40), fill(40), fill(200)], 1),
        ("instruct", vec![edit(40), edit(40), edit(200)], 1),
    ] {
        let generator = golden(name);
        let request = request(&generator, inits);
        let (together, steps) = generate(&generator, &request);
        assert_eq!(steps, 2 * batches, "{name}");
        for (index, image) in request.images.iter().enumerate() {
            let single = Request {
                images: vec![image.clone()],
                ..request.clone()
            };
            let separate = generate(&generator, &single).0;
            assert!(separate[0] == together[index], "{name}, image {index}");
        }
    }
}

/// Steps count by the images that they are of, over all batches.
#[test]
fn what_is_done_is_counted_in_images() {
    let generator = golden("sd1");
    let request = Request {
        steps: 3,
        batch: 2,
        ..request(&generator, vec![Init::Noise; 4])
    };
    let mut seen = vec![];
    let made = generator.generate(&request, &mut |progress| {
        assert_eq!(progress.total, 4);
        seen.push((progress.images, progress.step.index, progress.done));
        ControlFlow::Continue(())
    });
    assert_eq!(made.expect("images").len(), 4);
    let first = [(0..2, 0, 0), (0..2, 1, 1), (0..2, 2, 2)];
    let second = [(2..4, 0, 2), (2..4, 1, 3), (2..4, 2, 4)];
    assert_eq!(seen, [first, second].concat());
}

/// One that does not stay has left before the images are made, and is read again for a prompt that is
/// new.
#[test]
fn a_text_encoder_stays_as_long_as_it_is_to() {
    let device = Device::flex();
    for keep in [KeepEncoder::Always, KeepEncoder::WhileEncoding] {
        let folder = tempfile::tempdir().expect("a folder");
        copy_folder(golden_path("sd1").as_ref(), folder.path());
        let pipeline = Pipeline::load(folder.path(), &device).expect("a model");
        let generator = Generator::latent(pipeline, keep, &device).expect("a generator");
        let generate = |prompt: &str| {
            let mut request = request(&generator, vec![Init::Noise]);
            request.images[0].subject = Subject::Prompt(prompt.into());
            generator.generate(&request, &mut ignore)
        };
        generate("a cat").expect("the encoder is there");
        std::fs::remove_dir_all(folder.path().join("text_encoder")).expect("removed");
        generate("a cat").expect("its embeddings are kept");
        let missing = generate("a dog").is_err();
        assert_eq!(missing, keep == KeepEncoder::WhileEncoding, "{keep:?}");
    }
}

/// Texts that are named when a model is loaded are encoded then. Their images, and what of them is cut
/// off, need the encoder no more, and it is out of memory.
#[test]
fn texts_named_in_advance_need_no_encoder_later() {
    let long = "a cat and a dog ".repeat(40);
    for (name, clip_skip, of_folder) in [
        ("sd1", None, 0),
        ("sd1", Some(1), 0),
        ("sd1", None, 1),
        ("sdxl", None, 0),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        copy_folder(golden_path(name).as_ref(), folder.path());
        let model = Pipeline::load_model(folder.path(), &Device::flex()).expect("a model");
        let recipe = SamplerRecipe {
            clip_skip: of_folder,
            ..model.recipe
        };
        let recipe = serde_json::to_vec(&recipe).expect("JSON");
        std::fs::write(folder.path().join("fewstep.json"), recipe).expect("written");
        let source = ModelSource::find(folder.path().to_str().expect("a name"), None);
        let source = source.expect("a model");
        let load = |texts: &[&str]| {
            let options = LoadOptions {
                clip_skip,
                keep_encoder: KeepEncoder::WhileEncoding,
                texts: texts.iter().map(|text| text.to_string()).collect(),
                ..LoadOptions::default()
            };
            source.generator(&options, &Device::flex()).expect("loaded")
        };
        let (plain, ahead) = (load(&[]), load(&[&long, "rain"]));
        assert!(ahead.weight_bytes() < plain.weight_bytes(), "{name}");
        let generate = |generator: &Generator, prompt: &str| {
            let mut request = request(generator, vec![Init::Noise]);
            request.images[0].subject = Subject::Prompt(prompt.into());
            request.negative = "rain".into();
            generator.generate(&request, &mut ignore)
        };
        let expected = generate(&plain, &long).expect("an image");
        let cut_off = plain.cut_off(&long).expect("the encoder is there");
        assert!(cut_off.is_some());
        std::fs::remove_dir_all(folder.path().join("text_encoder")).expect("removed");
        let made = generate(&ahead, &long).expect("its embeddings are kept");
        assert_eq!(made, expected, "{name}, {clip_skip:?}");
        assert_eq!(ahead.cut_off(&long).expect("known"), cut_off);
        assert!(generate(&ahead, "a dog").is_err(), "{name}");
    }
}
