//! From a text to an image, step by step.

use crate::golden::Golden;
use burn::tensor::Tensor;
use fewstep_diffusion::sampler::{self, StepNoise};
use fewstep_diffusion::{CfgDenoiser, Inputs, Sampler, Spacing, TimeGrid};
use std::ops::ControlFlow;

/// Latents after every step, then the image in [0, 1], with the stored prompts and start.
fn generate(
    golden: &Golden,
    kind: Sampler,
    spacing: Spacing,
    steps: usize,
) -> (Tensor<4>, Tensor<4>) {
    let pipeline = golden.pipeline();
    let texts = golden.texts();
    let said = |key: &str| texts[key].as_str().expect("a text").to_string();
    let (text, cut) = pipeline.embed_prompts(&[said("prompt")], &said("negative"));
    assert_eq!(cut, [None]);
    let scale = texts["guidance_scale"].as_f64().expect("a number");
    let inputs = Inputs {
        prompt: Some(text),
        w: Some(vec![scale - 1.0]),
        ..Inputs::default()
    };
    let denoiser = CfgDenoiser::new(pipeline.model.denoiser().expect("a schedule"));
    let schedule = &pipeline.model.denoiser().expect("a schedule").schedule;
    let grid = TimeGrid::new(schedule, spacing, steps).expect("a grid");
    let mut seen = vec![];
    let last = sampler::sample(
        kind,
        &denoiser,
        golden.tensor("start"),
        &inputs,
        &grid,
        &StepNoise::new(0, vec![0]),
        &mut |step| {
            seen.push(step.prediction.z());
            ControlFlow::Continue(())
        },
    )
    .expect("not cancelled");
    seen.remove(0);
    seen.push(last.clone());
    let image = pipeline.vae.decode(last, None) / 2.0 + 0.5;
    (Tensor::cat(seen, 0), image.clamp(0.0, 1.0))
}

fn compare(golden: &Golden, name: &str, kind: Sampler, spacing: Spacing) {
    let steps = golden.values(&format!("{name}.timesteps")).len();
    let (latents, image) = generate(golden, kind, spacing, steps);
    golden.assert_equal(&format!("{name}.latents"), latents);
    golden.assert_equal(&format!("{name}.image"), image);
}

#[test]
fn ddim_follows_diffusers_from_a_text_to_a_image() {
    let golden = Golden::new("sd1");
    for (name, spacing) in [
        ("ddim/leading", Spacing::LEADING_OFFSET_1),
        ("ddim/trailing", Spacing::Trailing),
    ] {
        compare(&golden, name, Sampler::DDIM, spacing);
    }
}

/// The solvers end at a clean image, whatever the scheduler of the folder does.
#[test]
fn solvers_follow_diffusers_from_a_text_to_a_image() {
    let golden = Golden::new("sd1").ending_clean();
    for (solver, kind) in [
        ("dpm-solver++", Sampler::DpmSolverPp),
        ("unipc", Sampler::UNIPC),
    ] {
        for (name, spacing) in [
            ("leading", Spacing::LEADING_OFFSET_1_DROP_LAST),
            ("trailing", Spacing::Trailing),
            ("linspace", Spacing::LINSPACE_DROP_LAST),
        ] {
            compare(&golden, &format!("{solver}/{name}"), kind, spacing);
        }
    }
}

/// The v-prediction and the zero terminal SNR of Stable Diffusion 2's descendants.
#[test]
fn velocities_from_pure_noise_follow_diffusers() {
    let golden = Golden::new("sd2");
    let usual = golden
        .pipeline()
        .model
        .recipe
        .default_sampler
        .expect("a scheduler");
    assert_eq!(usual.spacing, Spacing::Trailing);
    compare(&golden, "ddim/trailing", usual.sampler, usual.spacing);
}

#[test]
fn tokens_equal_those_of_transformers() {
    for name in ["sd1", "sd2", "bert"] {
        let golden = Golden::new(name);
        let encoder = golden.pipeline().text_encoder;
        let texts = golden.texts();
        let prompts = texts["prompts"].as_array().expect("a list");
        for (prompt, theirs) in prompts.iter().zip(golden.tokens()) {
            let prompt = prompt.as_str().expect("a text");
            let ours = encoder.tokens(prompt);
            assert_eq!(ours.numbers, theirs, "{name}: {prompt:?}");
        }
    }
}

#[test]
fn what_is_cut_off_a_long_prompt_is_told() {
    let encoder = Golden::new("sd1").pipeline().text_encoder;
    let long = format!("{}zebra stripes", "dog ".repeat(75));
    let cut = encoder.tokens(&long).cut.expect("too long");
    assert!(cut.ends_with("zebra stripes"), "{cut}");
    assert_eq!(encoder.tokens("a short one").cut, None);
}
