//! Pixel models of diffusers, whose folders have nothing of ours.

use crate::golden::Golden;
use crate::refusals::Copy;
use burn::tensor::{Device, Tensor};
use fewstep_diffusion::sampler::{self, StepNoise};
use fewstep_diffusion::{
    Guidance, Inputs, Network, PredictionKind, Sampler, SamplerConfig, Spacing, TimeGrid,
};
use fewstep_formats::Model;
use serde_json::{Value, json};
use std::ops::ControlFlow;

const NAMES: [&str; 3] = ["ddpm", "classes", "blocks"];

fn model(golden: &Golden) -> Model {
    Model::load(golden.folder(), &Device::flex()).expect("a whole model")
}

/// The classes that the script took, where there are any.
fn inputs(model: &Model) -> Inputs {
    match model.recipe.classes.is_empty() {
        true => Inputs::default(),
        false => Inputs::classes([2, 0]),
    }
}

#[test]
fn networks_equal_those_of_diffusers() {
    for name in NAMES {
        let golden = Golden::pixel(name);
        let model = model(&golden);
        let times: Vec<f64> = golden.values("time").iter().map(|&t| t.into()).collect();
        let z = golden.tensor("z");
        let output = model.network.forward(z, &times, &inputs(&model));
        golden.assert_equal("output", output);
    }
}

#[test]
fn ddim_follows_diffusers_on_the_grid_of_the_folder() {
    for name in NAMES {
        let golden = Golden::pixel(name);
        let model = model(&golden);
        let denoiser = model.denoiser().expect("a schedule");
        let SamplerConfig { spacing, .. } = model.recipe.default_sampler.expect("a scheduler");
        let grid = TimeGrid::new(&denoiser.schedule, spacing, 5).expect("a grid");
        let mut seen = vec![];
        let last = sampler::sample(
            Sampler::DDIM,
            &denoiser,
            golden.tensor("z"),
            &inputs(&model),
            &grid,
            &StepNoise::new(0, vec![0, 1]),
            &mut |step| {
                seen.push(step.prediction.z());
                ControlFlow::Continue(())
            },
        )
        .expect("not cancelled");
        seen.remove(0);
        seen.push(last);
        golden.assert_equal("ddim", Tensor::cat(seen, 0));
    }
}

#[test]
fn recipes_are_those_of_the_folders() {
    let [ddpm, classes, blocks] = NAMES.map(|name| model(&Golden::pixel(name)).recipe);
    assert_eq!(ddpm.resolution, [3, 8, 8]);
    assert_eq!(ddpm.prediction, PredictionKind::Eps);
    assert!(ddpm.clip && ddpm.classes.is_empty());
    // DDPM's larger variance is not ours.
    let usual = ddpm.default_sampler.expect("a scheduler");
    assert_eq!(
        (usual.sampler, usual.spacing),
        (Sampler::DDIM, Spacing::LEADING)
    );
    assert_eq!(classes.resolution, [3, 8, 4]);
    assert_eq!(classes.prediction, PredictionKind::V);
    assert_eq!(classes.classes, ["0", "1", "2"]);
    assert_eq!(classes.guidance, Guidance::None);
    assert!(!classes.clip);
    let usual = blocks.default_sampler.expect("a scheduler");
    assert_eq!(usual.sampler, Sampler::Ancestral);
    assert_eq!(blocks.prediction, PredictionKind::X);
}

/// What is written says to diffusers what diffusers had said itself, and is read back as the same
/// network without what is ours in it.
#[test]
fn a_folder_that_is_written_is_one_of_diffusers() {
    for name in NAMES {
        let golden = Golden::pixel(name);
        let model = model(&golden);
        let folder = tempfile::tempdir().expect("a folder");
        model.save(folder.path()).expect("written");
        let back = Model::load(folder.path(), &Device::flex()).expect("a whole model");
        assert_eq!(back.recipe, model.recipe);
        assert_eq!(back.weights_hash(), model.weights_hash());
        std::fs::remove_file(folder.path().join("fewstep.json")).expect("removed");
        let back = Model::load(folder.path(), &Device::flex()).expect("a whole model");
        assert_eq!(back.network.config(), model.network.config());
        assert_eq!(back.weights_hash(), model.weights_hash());
        assert_eq!(back.recipe.schedule, model.recipe.schedule);
    }
}

#[test]
fn what_is_not_supported_is_named() {
    let unet = "unet/config.json";
    for (field, value, said) in [
        (
            "time_embedding_type",
            json!("fourier"),
            "`time_embedding_type` is \"fourier\"",
        ),
        ("class_embed_type", json!("timestep"), "`class_embed_type`"),
        ("in_channels", json!(6), "`in_channels` is 6"),
        ("downsample_padding", json!(2), "`downsample_padding` is 2"),
        (
            "resnet_time_scale_shift",
            json!("scale_shift"),
            "`attn_norm_num_groups` is not given",
        ),
        (
            "down_block_types",
            json!(["SkipDownBlock2D", "DownBlock2D"]),
            "`SkipDownBlock2D`",
        ),
        (
            "up_block_types",
            json!(["UpBlock2D", "UpBlock2D"]),
            "same levels",
        ),
        ("downsample_type", json!("resnet"), "resolution changes"),
        ("sample_size", json!(7), "multiples of 2"),
        (
            "block_out_channels",
            Value::Null,
            "`block_out_channels` is missing",
        ),
        ("magic", json!(1), "`magic`"),
    ] {
        let copy = Copy::of_golden(&Golden::pixel("classes"));
        copy.set(unet, "add_attention", json!(true));
        if field == "downsample_type" {
            copy.set(
                unet,
                "down_block_types",
                json!(["AttnDownBlock2D", "AttnDownBlock2D"]),
            );
            copy.set(
                unet,
                "up_block_types",
                json!(["AttnUpBlock2D", "AttnUpBlock2D"]),
            );
        }
        copy.set(unet, field, value);
        refused(&copy, &[unet, said]);
    }
    let copy = Copy::of_golden(&Golden::pixel("blocks"));
    copy.set(
        "scheduler/scheduler_config.json",
        "variance_type",
        json!("learned_range"),
    );
    refused(&copy, &["`variance_type`", "learned_range"]);
}

fn refused(copy: &Copy, parts: &[&str]) {
    let read = Model::load(&copy.path(""), &Device::flex());
    let message = read.expect_err("refused").to_string();
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}
