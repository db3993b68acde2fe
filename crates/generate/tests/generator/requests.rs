//! Which requests a model takes, and which it refuses.

use crate::{builtin, golden, with_recipe};
use burn::tensor::Device;
use fewstep_data::ImageShape;
use fewstep_data::image::Image;
use fewstep_diffusion::sampler::{Sampler, SamplerConfig};
use fewstep_diffusion::{ControlSpec, DistilledFor, Guidance, RecipeError, Role, Spacing, Task};
use fewstep_diffusion::{SamplerRecipe, Warning};
use fewstep_formats::Model;
use fewstep_generate::{
    ControlImage, GenerateError, Generator, ImageRequest, Init, Request, Subject,
};
use fewstep_nn::{Backbone, Fusion, Initial, UNetConfig};
use std::sync::Arc;

/// Whether a student may be sampled so: as it was distilled, and after stage one in any way.
#[test]
fn students_are_sampled_as_they_were_distilled() {
    use DistilledFor::{Any, Consistency, Deterministic, Encoder, Stochastic};
    let trailing = SamplerConfig {
        sampler: Sampler::DDIM,
        spacing: Spacing::Trailing,
    };
    let of_teachers = [
        trailing,
        Sampler::Ancestral.into(),
        Sampler::DpmSolverPp.into(),
        Sampler::UNIPC.into(),
        Sampler::HEUN.into(),
    ];
    let of_students = [
        (Sampler::Deterministic, [true, false, true]),
        (Sampler::DDIM, [true, false, true]),
        (Sampler::Stochastic, [false, true, false]),
        (Sampler::MultistepConsistency, [false, false, true]),
    ];
    let student = |sampler| {
        let steps = Some(4);
        with_recipe(|recipe| recipe.role = Role::Student { sampler, steps })
    };
    let check = |generator: &Generator, sampler| generator.check_sampling(sampler, 4, None);
    let [any, encoder] = [Any, Encoder].map(student);
    let trained = [Deterministic, Stochastic, Consistency].map(student);
    for sampler in of_teachers {
        assert_eq!(check(&any, sampler).expect("any sampler"), []);
        for (student, name) in trained
            .iter()
            .zip(["deterministic", "stochastic", "deterministic"])
        {
            match check(student, sampler) {
                Err(GenerateError::NotForStudents { trained, asked }) => {
                    assert_eq!((trained, asked), (name, sampler.sampler.plain_name()));
                }
                other => panic!("{sampler:?}: {other:?}"),
            }
        }
    }
    for (sampler, taken) in of_students {
        let sampler = SamplerConfig::from(sampler);
        assert_eq!(check(&any, sampler).expect("any sampler"), []);
        for (student, taken) in trained.iter().zip(taken) {
            match check(student, sampler) {
                Ok(warnings) => assert!(taken && warnings.is_empty(), "{sampler:?}"),
                Err(GenerateError::Recipe(RecipeError::WrongSampler { .. })) => {
                    assert!(!taken, "{sampler:?}");
                }
                other => panic!("{sampler:?}: {other:?}"),
            }
        }
        let refused = check(&encoder, sampler).expect_err("it generates nothing");
        let direction = matches!(
            refused,
            GenerateError::Recipe(RecipeError::WrongDirection { .. })
        );
        assert!(direction, "{refused}");
    }
    let none = any.check_sampling(Sampler::DDIM.into(), 0, None);
    assert!(matches!(none, Err(GenerateError::Grid(_))));
}

/// Whatever is merely untrained, once for all images.
#[test]
fn each_warning_comes_once() {
    let input = Guidance::Input {
        w_min: 0.0,
        w_max: 4.0,
        default: 1.0,
    };
    let generator = with_recipe(|recipe| {
        recipe.guidance = input;
        recipe.role = Role::Student {
            sampler: DistilledFor::Deterministic,
            steps: Some(4),
        };
    });
    let image = |w| ImageRequest {
        w,
        ..ImageRequest::new(0, 0)
    };
    let outside = |asked| Warning::WOutsideRange {
        asked,
        w_min: 0.0,
        w_max: 4.0,
    };
    let steps = Warning::Steps {
        trained: 4,
        asked: 3,
    };
    let warnings = |steps: usize, ws: &[f64]| {
        let images = ws.iter().map(|&w| image(Some(w))).collect();
        let request = Request {
            steps,
            ..generator.request(images)
        };
        generator.check(&request).expect("possible")
    };
    assert_eq!(warnings(4, &[0.0, 4.0]), []);
    assert_eq!(warnings(3, &[1.0, 2.0, 1.0]), std::slice::from_ref(&steps));
    let both = [steps, outside(9.0), outside(-1.0)];
    assert_eq!(warnings(3, &[9.0, 9.0, -1.0, 9.0]), both);
    let sampler = Sampler::Deterministic.into();
    let checked = generator.check_sampling(sampler, 3, Some(9.0));
    assert_eq!(checked.expect("possible"), both[..2]);
}

/// What an image is to show: classes by their number where there are classes, prompts where there is a
/// text encoder, and neither where the model has seen images of neither.
#[test]
fn subjects_are_those_that_the_model_knows() {
    let asks = |generator: &Generator, subject: Subject| {
        let image = ImageRequest {
            subject,
            ..ImageRequest::new(0, 0)
        };
        generator.check(&generator.request(vec![image]))
    };
    let known = |generator: &Generator, subject: Subject| {
        asks(generator, subject).map(drop).expect("known");
    };
    let prompt = || Subject::Prompt("a cat".into());
    let (sd1, classes) = (golden("sd1"), golden("classes"));
    known(&sd1, prompt());
    known(&sd1, Subject::Any);
    known(&classes, Subject::Class(0));
    known(&classes, Subject::Class(3));
    known(&classes, Subject::Any);
    let refused = asks(&classes, prompt());
    assert!(matches!(refused, Err(GenerateError::NoPrompts)));
    let refused = asks(&sd1, Subject::Class(0));
    assert!(matches!(refused, Err(GenerateError::NoClasses)));
    for class in [4, 5] {
        let refused = asks(&classes, Subject::Class(class)).expect_err("one of four");
        assert!(
            refused.to_string().contains("4 classes, 0 to 3"),
            "{refused}"
        );
    }
    for null_class in [true, false] {
        let pixels = tiny(|config| config.null_class = null_class, |_| ());
        known(&pixels, Subject::Class(1));
        let refused = asks(&pixels, Subject::Class(2));
        assert!(matches!(refused, Err(GenerateError::Recipe(_))));
        let any = asks(&pixels, Subject::Any);
        match null_class {
            true => assert!(any.is_ok()),
            false => assert!(matches!(any, Err(GenerateError::NoNullClass))),
        }
    }
    let without = tiny(
        |config| (config.classes, config.null_class) = (0, false),
        |recipe| recipe.classes.clear(),
    );
    known(&without, Subject::Any);
}

#[test]
fn no_more_layers_are_skipped_than_there_are() {
    for (name, most) in [("sd1", 2), ("sdxl", 1), ("bert", 0)] {
        let generator = golden(name);
        let asks = |clip_skip| {
            let image = ImageRequest {
                clip_skip: Some(clip_skip),
                ..ImageRequest::new(0, 0)
            };
            generator.check(&generator.request(vec![image]))
        };
        assert!(asks(most).is_ok(), "{name}");
        let refused = asks(most + 1);
        assert!(matches!(refused, Err(GenerateError::ClipSkip(_))), "{name}");
    }
}

/// Images have the size that is asked for, where the network can halve it.
#[test]
fn sizes_are_those_that_are_asked_for() {
    let generator = golden("sd1");
    let made = |size: [usize; 2]| {
        let request = Request {
            size: Some(size),
            steps: 1,
            ..generator.request(vec![ImageRequest::new(0, 0)])
        };
        let images = generator.generate(&request, &mut fewstep_generate::ignore);
        images.map(|images| [images[0].shape.height, images[0].shape.width])
    };
    for size in [[24, 16], [16, 28], [8, 12]] {
        assert_eq!(made(size).expect("an image"), size);
    }
    for size in [[0, 16], [16, 1 << 20]] {
        assert!(matches!(made(size), Err(GenerateError::Number(_))));
    }
    for size in [[18, 16], [16, 22]] {
        assert!(matches!(made(size), Err(GenerateError::Size { .. })));
    }
}

/// A network of two levels, for images of 8x8.
fn tiny(
    change_network: impl Fn(&mut UNetConfig),
    change_recipe: impl Fn(&mut SamplerRecipe),
) -> Generator {
    let device = Device::flex();
    let mut network = UNetConfig {
        widths: vec![32, 32],
        attention: vec![false; 2],
        classes: 2,
        ..UNetConfig::default()
    };
    change_network(&mut network);
    let teacher = builtin("fashion-mnist-teacher", None);
    let mut recipe = SamplerRecipe {
        guidance: Guidance::None,
        resolution: [1, 8, 8],
        classes: vec!["a".into(), "b".into()],
        ..teacher.model().recipe.clone()
    };
    change_recipe(&mut recipe);
    let mut network = Backbone::new(&network.into(), 1, &device).expect("a network");
    if let Some(control) = recipe.control {
        let config =
            network
                .config()
                .controlnet_for(control.shape, recipe.resolution, Fusion::ZeroConv);
        let controlled = network.with_controlnet(&config, Initial::Base, 2);
        network = controlled.expect("a ControlNet");
    }
    Generator::new(Model { network, recipe }, &device).expect("a generator")
}

fn controlled(task: Task, shape: [usize; 3]) -> Generator {
    tiny(
        |_| (),
        |recipe| recipe.control = Some(ControlSpec { task, shape }),
    )
}

/// Two pixels of the control image for one of the image, whose network halves once: its sides are
/// multiples of four.
#[test]
fn control_images_have_sizes_that_fit() {
    let generator = controlled(Task::Image, [1, 16, 16]);
    assert_eq!(generator.source_shape(), Some([1, 16, 16]));
    for (given, made) in [
        ([1, 16, 16], [8, 8]),
        ([1, 24, 16], [12, 8]),
        ([1, 4, 20], [2, 10]),
    ] {
        let shape = generator.shape_for(given).expect("it fits");
        assert_eq!([shape.height, shape.width], made);
    }
    for given in [
        [3, 16, 16],
        [1, 17, 16],
        [1, 16, 18],
        [1, 0, 16],
        [1, 16, 0],
        [1, usize::MAX, 16],
    ] {
        let refused = generator.shape_for(given);
        assert!(
            matches!(refused, Err(GenerateError::Control { .. })),
            "{given:?}"
        );
    }
    for (given, fits) in [([37, 50], [36, 48]), ([16, 4], [16, 4]), ([1, 3], [4, 4])] {
        assert_eq!(generator.fitting(given), fits);
        let [height, width] = fits;
        assert!(generator.shape_for([1, height, width]).is_ok());
    }
}

/// A model that was trained with control images needs one, and takes its size from it.
#[test]
fn a_controlled_model_needs_its_image() {
    let generator = controlled(Task::Depth, [1, 16, 16]);
    let asks = |control: Option<[usize; 3]>, size| {
        let control = control.map(|shape| {
            Arc::new(ControlImage {
                values: vec![0.5; shape.iter().product()],
                shape,
            })
        });
        let image = ImageRequest {
            subject: Subject::Class(1),
            control,
            ..ImageRequest::new(0, 0)
        };
        let request = Request {
            size,
            steps: 1,
            ..generator.request(vec![image])
        };
        let images = generator.generate(&request, &mut fewstep_generate::ignore);
        images.map(|images| [images[0].shape.height, images[0].shape.width])
    };
    let task = Task::Depth;
    let refused = asks(None, None).expect_err("none");
    let needs = matches!(refused, GenerateError::NeedsControl { task: t } if t == task);
    assert!(needs, "{refused}");
    assert_eq!(asks(Some([1, 24, 16]), None).expect("an image"), [12, 8]);
    let same = asks(Some([1, 24, 16]), Some([12, 8]));
    assert_eq!(same.expect("an image"), [12, 8]);
    for (shape, size) in [([1, 24, 16], Some([8, 8])), ([1, 18, 16], None)] {
        let refused = asks(Some(shape), size);
        assert!(matches!(refused, Err(GenerateError::Control { .. })));
    }
}

/// Of a network without channels for a mask or a source image, inpainting needs a ControlNet that has
/// learnt it; then the control image is made of image and mask.
#[test]
fn what_is_to_be_changed_needs_a_model_for_it() {
    let shape = ImageShape {
        channels: 1,
        height: 8,
        width: 8,
    };
    let image = Arc::new(Image::filled(shape, 90));
    let fill = Init::Inpaint {
        image: image.clone(),
        mask: Arc::new(Image::filled(shape, 255)),
    };
    let edit = Init::Instruct { image, scale: None };
    let asks = |generator: &Generator, init: &Init| {
        let image = ImageRequest {
            subject: Subject::Class(0),
            init: init.clone(),
            ..ImageRequest::new(0, 0)
        };
        let request = Request {
            steps: 1,
            ..generator.request(vec![image])
        };
        generator.generate(&request, &mut fewstep_generate::ignore)
    };
    let plain = tiny(|_| (), |_| ());
    let inpaints = controlled(Task::Inpaint, [2, 8, 8]);
    assert_eq!(asks(&inpaints, &fill).expect("an image").len(), 1);
    let refused = asks(&plain, &fill);
    assert!(matches!(refused, Err(GenerateError::NotForInpainting)));
    for generator in [&plain, &inpaints] {
        let refused = asks(generator, &edit);
        assert!(matches!(refused, Err(GenerateError::NotForInstruct)));
    }
    let refused = asks(&inpaints, &Init::Noise);
    assert!(matches!(refused, Err(GenerateError::NeedsControl { .. })));
}
