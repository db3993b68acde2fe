//! What a generator says of its model, and how it is sampled by default.

use crate::{builtin, golden, golden_path, with_recipe};
use burn::tensor::Device;
use fewstep_data::ImageShape;
use fewstep_diffusion::sampler::{Sampler, SamplerConfig};
use fewstep_diffusion::{ControlSpec, DistilledFor, Guidance, Role, Spacing, Task};
use fewstep_generate::{ImageRequest, LoadOptions, ModelSource, Subject};
use std::path::Path;

/// Students by the sampler and the steps that they were distilled for; those with the scheduler of
/// latent consistency models by its jumps.
#[test]
fn a_model_is_sampled_as_it_was_made_for() {
    let student = |sampler, steps| Role::Student { sampler, steps };
    let unipc = SamplerConfig {
        sampler: Sampler::UNIPC,
        spacing: Spacing::Trailing,
    };
    let jumps = SamplerConfig::from(Sampler::MultistepConsistency);
    let deterministic = SamplerConfig::from(Sampler::Deterministic);
    for (role, usual, sampler, steps) in [
        (Role::Teacher, None, Sampler::DDIM.into(), 32),
        (Role::Teacher, Some(unipc), unipc, 32),
        (student(DistilledFor::Any, None), None, deterministic, 32),
        (
            student(DistilledFor::Deterministic, Some(4)),
            None,
            deterministic,
            4,
        ),
        (
            student(DistilledFor::Stochastic, Some(8)),
            None,
            Sampler::Stochastic.into(),
            8,
        ),
        (
            student(DistilledFor::Consistency, None),
            None,
            deterministic,
            4,
        ),
        (
            student(DistilledFor::Consistency, None),
            Some(jumps),
            jumps,
            4,
        ),
        (
            student(DistilledFor::Consistency, Some(2)),
            Some(unipc),
            deterministic,
            2,
        ),
    ] {
        let generator = with_recipe(|recipe| {
            recipe.role = role.clone();
            recipe.default_sampler = usual;
        });
        let request = generator.request(vec![ImageRequest::new(3, 1)]);
        assert_eq!(request.sampler, sampler, "{role:?}, {usual:?}");
        assert_eq!(request.steps, steps, "{role:?}, {usual:?}");
        assert_eq!((request.images.len(), request.batch), (1, 64));
    }
}

/// Many pixels go through the network at once, fewer with control images, and latents one by one.
#[test]
fn the_batch_is_what_memory_allows() {
    let control = ControlSpec {
        task: Task::Image,
        shape: [1, 32, 32],
    };
    let controlled = with_recipe(|recipe| recipe.control = Some(control));
    for (generator, batch) in [
        (builtin("fashion-mnist", None), 64),
        (controlled, 16),
        (golden("sd1"), 1),
    ] {
        assert_eq!(generator.request(vec![]).batch, batch);
    }
}

/// w as it is given, or the recipe's, or none; and what an image costs with it: two branches where
/// they are asked to differ.
#[test]
fn guidance_follows_from_the_recipe() {
    let input = Guidance::Input {
        w_min: 0.0,
        w_max: 4.0,
        default: 0.5,
    };
    let two_branches = Guidance::ClassifierFree;
    for (guidance, given, effective, branches) in [
        (two_branches, None, Some(0.0), 1),
        (two_branches, Some(0.0), Some(0.0), 1),
        (two_branches, Some(2.5), Some(2.5), 2),
        (Guidance::None, None, None, 1),
        (Guidance::None, Some(0.0), None, 1),
        (input, None, Some(0.5), 1),
        (input, Some(0.0), Some(0.0), 1),
        (input, Some(3.0), Some(3.0), 1),
        (Guidance::Fixed { w: 1.5 }, None, Some(1.5), 1),
    ] {
        let generator = with_recipe(|recipe| recipe.guidance = guidance);
        assert_eq!(generator.effective_w(given), effective, "{guidance:?}");
        for (sampler, calls) in [(Sampler::DDIM, 5), (Sampler::HEUN, 9)] {
            let calls_of_all = generator.network_calls(sampler.into(), 5, given);
            assert_eq!(calls_of_all, calls * branches, "{guidance:?}, {given:?}");
        }
    }
}

/// Pixels are counted in the classes and sizes of the network; latents in those of autoencoder and
/// text encoder.
#[test]
fn models_say_what_they_generate() {
    let shape = |channels, side| ImageShape {
        channels,
        height: side,
        width: side,
    };
    let pixels = builtin("fashion-mnist", None);
    assert!(!pixels.is_latent() && !pixels.takes_prompts());
    assert_eq!(pixels.classes().len(), 10);
    assert_eq!(pixels.image_shape(), shape(1, 32));
    for (name, prompts, multiple) in [
        ("sd1", true, 4),
        ("sd2", true, 4),
        ("sdxl", true, 8),
        ("classes", false, 4),
        ("inpaint", true, 4),
        ("instruct", true, 4),
    ] {
        let generator = golden(name);
        assert!(generator.is_latent());
        assert_eq!(generator.takes_prompts(), prompts, "{name}");
        assert_eq!(generator.image_shape(), shape(3, 16), "{name}");
        assert_eq!(generator.size_multiple(), multiple, "{name}");
        assert_eq!(generator.inpaints(), name == "inpaint", "{name}");
        let edits = name == "instruct";
        assert_eq!(generator.edits_by_instruction(), edits, "{name}");
        let folder = generator.components().map(|parts| parts.folder());
        assert_eq!(folder, Some(Path::new(&golden_path(name))));
    }
    let classes = golden("classes");
    assert_eq!(classes.classes(), ["tench", "goldfish", "shark", "ray"]);
    let by_control = |task| {
        let shape = [2, 32, 32];
        let control = Some(ControlSpec { task, shape });
        with_recipe(|recipe| recipe.control = control).inpaints()
    };
    assert!(by_control(Task::Inpaint) && !by_control(Task::Image));
    assert!(!with_recipe(|_| ()).inpaints());
}

/// Web interfaces count from the layer that is usual, which is the one before the last for SDXL.
#[test]
fn layers_that_are_skipped_are_counted_as_each_tool_counts() {
    for (name, most, usual) in [
        ("sd1", 2, 1),
        ("sd2", 2, 1),
        ("sdxl", 1, 2),
        ("bert", 0, 1),
        ("classes", 0, 1),
    ] {
        let generator = golden(name);
        assert_eq!(generator.most_skipped(), most, "{name}");
        for skipped in 0..3 {
            let web = generator.web_clip_skip(skipped);
            assert_eq!(web, usual + skipped, "{name}");
            assert_eq!(generator.skipped_for(web), skipped, "{name}");
        }
        assert_eq!(generator.skipped_for(0), 0);
    }
    assert_eq!(builtin("fashion-mnist", None).most_skipped(), 0);
    let source = ModelSource::find(&golden_path("sd1"), None).expect("a folder");
    let options = LoadOptions {
        clip_skip: Some(2),
        ..LoadOptions::default()
    };
    let generator = source.generator(&options, &Device::flex());
    let generator = generator.expect("a model");
    let of = |clip_skip| ImageRequest {
        clip_skip,
        ..ImageRequest::new(0, 0)
    };
    assert_eq!(generator.clip_skip(&of(None)), 2);
    assert_eq!(generator.clip_skip(&of(Some(1))), 1);
}

/// What does not fit is the end of the prompt, and the rest of it fits.
#[test]
fn the_end_of_a_long_prompt_is_cut_off() {
    let long = "a cat and a dog ".repeat(40);
    for (name, tokens) in [("sd1", 77), ("bert", 20)] {
        let generator = golden(name);
        let cut_off = |prompt: &str| generator.cut_off(prompt).expect("the encoder is there");
        let (cut, length) = cut_off(&long).expect("too long");
        assert_eq!(length, tokens);
        let end = cut.trim();
        let kept = long.trim().strip_suffix(end).expect("the end of it");
        assert!(!kept.is_empty() && !end.is_empty(), "{end}");
        assert_eq!(cut_off(kept), None);
        assert_eq!(cut_off("a cat"), None);
    }
    let pixels = builtin("fashion-mnist", None);
    assert_eq!(pixels.cut_off(&long).expect("no encoder"), None);
}

#[test]
fn a_model_is_known_by_its_weights() {
    let [first, again, other] = [Some(1), Some(1), Some(2)].map(|s| builtin("fashion-mnist", s));
    let hash = first.model().weights_hash();
    assert_eq!(first.weights_hash(), hash);
    assert_eq!(again.weights_hash(), hash);
    assert_ne!(other.weights_hash(), hash);
}

#[test]
fn a_class_or_none_is_a_subject() {
    assert_eq!(Subject::from(Some(3)), Subject::Class(3));
    assert_eq!(Subject::from(None), Subject::Any);
}
