//! Restyling: its parts by themselves, what it costs and what it refuses.

use crate::{builtin, golden, with_recipe};
use burn::tensor::Device;
use fewstep_data::image::Image;
use fewstep_diffusion::sampler::{self, Sampler};
use fewstep_diffusion::{
    Denoiser, DistilledFor, Guidance, Inputs, RecipeError, Role, Spacing, TimeGrid, Warning,
};
use fewstep_formats::Model;
use fewstep_generate::{
    GenerateError, Generator, ImageRequest, RestyleError, RestyleRequest, Restyler, Subject,
    from_images, to_images,
};
use std::ops::ControlFlow;

fn encoder() -> Model {
    builtin("fashion-mnist-encoder", None).model().clone()
}

fn restyler(encoder: Model, decoder: Generator) -> Restyler {
    Restyler::new(encoder, None, decoder).expect("both of pixels")
}

fn request(restyler: &Restyler, images: usize) -> RestyleRequest {
    let shape = restyler.decoder().image_shape();
    let image = |number: usize| Image {
        shape,
        pixels: (0..shape.len())
            .map(|i| ((i + number) % 251) as u8)
            .collect(),
    };
    RestyleRequest {
        images: (0..images).map(image).collect(),
        from: Subject::Class(7),
        to: Subject::Class(9),
        encoder_steps: 4,
        decoder_steps: 4,
        sampler: Sampler::Deterministic.into(),
        encoder_w: None,
        w: vec![None],
    }
}

/// Reversed DDIM with the encoder, its class and its w; then the decoder's sampler with its own.
#[test]
fn restyling_is_encoding_and_decoding() {
    let decoder = builtin("fashion-mnist", Some(4));
    let both = restyler(encoder(), decoder);
    let device = Device::flex();
    let mut request = request(&both, 2);
    request.encoder_w = Some(2.0);
    request.w = vec![Some(0.5), Some(3.0)];
    let made = both.restyle(&request, &mut |_| ControlFlow::Continue(()));
    let made = made.expect("images");
    let encoder = encoder().denoiser().expect("a schedule");
    let inputs = Inputs::classes([7, 7]).with_w(vec![2.0; 2]);
    let grid = TimeGrid::new(encoder.schedule(), Spacing::Uniform, 4).expect("four steps");
    let z = from_images(&request.images, &device);
    let noise = sampler::encode(&encoder, z, &inputs, &grid, &mut sampler::ignore);
    let noise = noise.expect("to its end");
    for (images, w) in made.iter().zip([0.5, 3.0]) {
        let inputs = Inputs::classes([9, 9]).with_w(vec![w; 2]);
        let denoiser = both.decoder().denoiser();
        let grid = TimeGrid::new(denoiser.schedule(), Spacing::Uniform, 4).expect("four steps");
        let by_parts = sampler::deterministic(
            denoiser,
            noise.clone(),
            &inputs,
            &grid,
            &mut sampler::ignore,
        );
        let by_parts = to_images(by_parts.expect("to its end"));
        assert!(images == &by_parts, "w = {w}");
    }
}

/// The encoder is given the class as it numbers it, also where the decoder has no classes.
#[test]
fn the_encoder_numbers_its_classes_itself() {
    let made = |encoder: Model, from: Subject| {
        let decoder = with_recipe(|recipe| recipe.classes.clear());
        let both = restyler(encoder, decoder);
        let request = RestyleRequest {
            from,
            to: Subject::Any,
            sampler: Sampler::DDIM.into(),
            ..request(&both, 1)
        };
        let made = both.restyle(&request, &mut |_| ControlFlow::Continue(()));
        made.map(|mut images| images.remove(0))
    };
    let of_class = |class| made(encoder(), Subject::Class(class)).expect("images");
    assert!(of_class(7) != of_class(1));
    let mut few = encoder();
    few.recipe.classes.truncate(3);
    match made(few, Subject::Class(3)) {
        Err(RestyleError::Encoder(GenerateError::Recipe(RecipeError::UnknownClass {
            asked,
            classes,
        }))) => assert_eq!((asked, classes), (3, 3)),
        other => panic!("{:?}", other.map(drop)),
    }
}

/// No guidance, or the nearest that the encoder was distilled for; and what is asked for, where it is.
#[test]
fn images_are_encoded_with_the_least_guidance() {
    let input = |w_min: f64, w_max: f64| Guidance::Input {
        w_min,
        w_max,
        default: w_max,
    };
    for (guidance, w) in [
        (Guidance::ClassifierFree, 0.0),
        (Guidance::None, 0.0),
        (input(-1.0, 4.0), 0.0),
        (input(0.5, 4.0), 0.5),
        (input(-3.0, -1.5), -1.5),
        (Guidance::Fixed { w: 2.5 }, 2.5),
    ] {
        let mut encoder = encoder();
        encoder.recipe.guidance = guidance;
        let both = restyler(encoder, builtin("fashion-mnist", Some(4)));
        let mut request = request(&both, 1);
        assert_eq!(both.encoder_w(&request), w, "{guidance:?}");
        request.encoder_w = Some(1.25);
        assert_eq!(both.encoder_w(&request), 1.25);
    }
}

/// One call a step of a student; two of a teacher's that is guided. Of several w the dearest counts.
#[test]
fn its_cost_is_that_of_both() {
    let teacher = || builtin("fashion-mnist-teacher", None);
    let student = || builtin("fashion-mnist", Some(2));
    for (encoder, decoder, encoder_w, w, calls) in [
        (encoder(), student(), None, vec![None], [4, 3]),
        (encoder(), student(), Some(3.0), vec![Some(3.0)], [4, 3]),
        (
            teacher().model().clone(),
            teacher(),
            None,
            vec![None],
            [4, 3],
        ),
        (
            teacher().model().clone(),
            teacher(),
            Some(1.5),
            vec![Some(0.0), Some(2.0), None],
            [8, 6],
        ),
        (encoder(), teacher(), None, vec![], [4, 0]),
    ] {
        let both = restyler(encoder, decoder);
        let request = RestyleRequest {
            decoder_steps: 3,
            sampler: Sampler::DDIM.into(),
            encoder_w,
            w,
            ..request(&both, 1)
        };
        assert_eq!(both.network_calls(&request), calls);
    }
    let both = restyler(encoder(), student());
    assert_eq!(both.default_steps(), [4, 2]);
    let both = restyler(encoder(), teacher());
    assert_eq!(both.default_steps(), [4, 32]);
}

/// Each of the two refuses what it cannot do, and warns once of what it has not learnt.
#[test]
fn both_models_check_a_request() {
    let both = restyler(encoder(), builtin("fashion-mnist", Some(4)));
    let checked = |change: &dyn Fn(&mut RestyleRequest)| {
        let mut request = request(&both, 1);
        change(&mut request);
        both.check(&request)
    };
    assert_eq!(checked(&|_| ()).expect("possible"), []);
    let of_steps = |trained, asked| Warning::Steps { trained, asked };
    let warnings = checked(&|request| {
        request.encoder_steps = 3;
        request.decoder_steps = 5;
        request.w = vec![Some(1.0), Some(2.0), None];
    });
    assert_eq!(
        warnings.expect("possible"),
        [of_steps(4, 3), of_steps(4, 5)]
    );
    let of_encoder: [&dyn Fn(&mut RestyleRequest); 2] =
        [&|request| request.from = Subject::Class(10), &|request| {
            request.encoder_steps = 0
        }];
    for change in of_encoder {
        assert!(matches!(checked(change), Err(RestyleError::Encoder(_))));
    }
    let of_decoder: [&dyn Fn(&mut RestyleRequest); 4] = [
        &|request| request.to = Subject::Class(10),
        &|request| request.decoder_steps = 0,
        &|request| request.sampler = Sampler::HEUN.into(),
        &|request| request.w = vec![None, Some(f64::NAN)],
    ];
    for change in of_decoder {
        assert!(matches!(checked(change), Err(RestyleError::Decoder(_))));
    }
    let mut decoder_as_encoder = encoder();
    decoder_as_encoder.recipe.role = Role::Student {
        sampler: DistilledFor::Deterministic,
        steps: Some(4),
    };
    let both = restyler(decoder_as_encoder, builtin("fashion-mnist", Some(4)));
    let refused = both.check(&request(&both, 1));
    assert!(matches!(refused, Err(RestyleError::Encoder(_))));
}

/// Pixels all at once, latents image by image; each pass through a model counts.
#[test]
fn progress_names_the_images_and_counts_passes() {
    let prompts = ["a cat", "a dog"].map(|prompt| Subject::Prompt(prompt.into()));
    let latents = golden("sd1");
    let (of_latents, parts) = (latents.model().clone(), latents.components().cloned());
    let latents = Restyler::new(of_latents, parts.as_ref(), latents).expect("one model");
    let pixels = restyler(encoder(), builtin("fashion-mnist", Some(4)));
    let of_pixels = vec![(0, None, 0..2), (2, Some(0), 0..2), (4, Some(1), 0..2)];
    let of_latents = vec![
        (0, None, 0..1),
        (1, Some(0), 0..1),
        (2, Some(1), 0..1),
        (3, None, 1..2),
        (4, Some(0), 1..2),
        (5, Some(1), 1..2),
    ];
    for (both, subjects, expected) in [
        (pixels, [Subject::Class(7), Subject::Class(9)], of_pixels),
        (latents, prompts, of_latents),
    ] {
        let mut request = request(&both, 2);
        [request.from, request.to] = subjects;
        (request.encoder_steps, request.decoder_steps) = (1, 1);
        request.w = vec![Some(0.5), Some(1.0)];
        let mut seen = vec![];
        let made = both.restyle(&request, &mut |step| {
            seen.push((step.passes, step.w, step.images));
            ControlFlow::Continue(())
        });
        let lengths = made.expect("images").into_iter().map(|of_w| of_w.len());
        assert_eq!(lengths.collect::<Vec<_>>(), [2, 2]);
        assert_eq!(seen, expected);
    }
}

/// Weights of both, a call with all images at once, and all results, each also in the grid of them.
#[test]
fn its_memory_is_that_of_both_networks_and_all_results() {
    let decoder = builtin("fashion-mnist", Some(4));
    let weights = decoder.weight_bytes();
    let shape = decoder.image_shape();
    let maps = decoder.model().network.config().forward([32, 32], 0);
    let both = restyler(encoder(), decoder);
    let weights = weights + both.encoder().network.stored_bytes();
    for (images, ws) in [(1, 1), (3, 2)] {
        let request = RestyleRequest {
            w: vec![Some(1.0); ws],
            ..request(&both, images)
        };
        let call = 4 * images * (maps + shape.len());
        let each = 2 * shape.len() + size_of::<Image>() + size_of::<ImageRequest>();
        let expected = weights + (call + images * ws * each) as u64;
        let predicted = both.memory(&request).expect("a size");
        assert_eq!((predicted.host, predicted.device), (expected, 0));
    }
}
