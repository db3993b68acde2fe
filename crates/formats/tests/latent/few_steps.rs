//! Models of few steps in the folders of SDXL-Turbo and SDXL-Lightning, against diffusers
//! (tools/golden/few_step_folders.py).

use crate::golden::Golden;
use burn::tensor::Device;
use fewstep_diffusion::sampler::{self, StepNoise, ignore};
use fewstep_diffusion::{Inputs, Sampler, Spacing, TimeIds};
use fewstep_formats::Pipeline;
use std::path::Path;

/// The tiny SDXL with this scheduler.
fn pipeline(scheduler: &str, place: &Path) -> Pipeline {
    copy(Golden::new("sdxl").folder(), place);
    let config = Golden::new("few_steps").folder().join(scheduler);
    let target = place.join("scheduler/scheduler_config.json");
    std::fs::copy(config, target).expect("copied");
    Pipeline::load(place, &Device::flex()).expect("a whole model")
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).expect("copied")),
        }
    }
}

/// With the sampler and the steps that the folder says, as they are by default.
fn follows_diffusers(name: &str, expected: Sampler, all_steps: &[usize]) {
    let golden = Golden::new("few_steps");
    let place = tempfile::tempdir().expect("a folder");
    let pipeline = pipeline(&format!("{name}.json"), place.path());
    let config = pipeline.model.recipe.default_sampler.expect("a sampler");
    assert_eq!(
        (config.sampler, config.spacing),
        (expected, Spacing::Trailing)
    );
    let prompt = Golden::new("sdxl").texts()["prompt"].clone();
    let prompt = prompt.as_str().expect("a text").to_string();
    let denoiser = pipeline.model.denoiser().expect("a schedule");
    for steps in all_steps {
        let inputs = Inputs {
            prompt: Some(pipeline.embed_prompts(std::slice::from_ref(&prompt), "").0),
            time_ids: Some(vec![TimeIds::whole([16, 16])]),
            ..Inputs::default()
        };
        let made = sampler::sample(
            config.sampler,
            &denoiser,
            golden.tensor(&format!("{name}.start")),
            &inputs,
            &config.grid(&denoiser.schedule, *steps).expect("a grid"),
            &StepNoise::new(0, vec![0]),
            &mut ignore,
        );
        let made = made.expect("not cancelled");
        golden.assert_equal(&format!("{name}-{steps}.latents"), made);
    }
}

#[test]
fn a_folder_like_that_of_sdxl_lightning_follows_diffusers() {
    follows_diffusers("euler", Sampler::DDIM, &[1, 2, 3, 4]);
}

#[test]
fn a_folder_like_that_of_sdxl_turbo_follows_diffusers() {
    follows_diffusers("ancestral", Sampler::Ancestral, &[1]);
}
