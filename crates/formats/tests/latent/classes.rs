//! A latent model that is conditioned on classes (tools/golden/latent_classes.py).

use crate::golden::Golden;
use crate::refusals::Copy;
use burn::tensor::{Device, Tensor};
use fewstep_diffusion::sampler::{self, StepNoise};
use fewstep_diffusion::{CfgDenoiser, Guidance, Inputs, Network, PromptEmbeds, Sampler, TimeGrid};
use fewstep_formats::Pipeline;
use fewstep_nn::Vae;
use safetensors::SafeTensors;
use serde_json::json;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

fn text(pipeline: &Pipeline, classes: [&str; 2]) -> PromptEmbeds {
    let (text, cut) = pipeline.embed_prompts(&classes.map(String::from), "");
    assert_eq!(cut, [None, None]);
    text
}

#[test]
fn the_networks_equal_those_of_diffusers() {
    let golden = Golden::new("classes");
    let pipeline = golden.pipeline();
    let times: Vec<f64> = golden.values("time").iter().map(|&t| t.into()).collect();
    let inputs = Inputs {
        prompt: Some(text(&pipeline, ["ray", "tench"])),
        ..Inputs::default()
    };
    let network = &pipeline.model.network;
    let output = network.forward(golden.tensor("z"), &times, &inputs);
    golden.assert_equal("unet.output", output);
    assert!(matches!(pipeline.vae, Vae::Vq(..)));
    let latents = pipeline.vae.encode(golden.tensor("vae.image"));
    golden.assert_equal("vae.latents", latents);
    let decoded = pipeline.vae.decode(golden.tensor("z"), None);
    golden.assert_equal("vae.decoded", decoded);
}

#[test]
fn classes_become_images_as_diffusers_makes_them() {
    let golden = Golden::new("classes");
    let pipeline = golden.pipeline();
    let recipe = &pipeline.model.recipe;
    assert_eq!(recipe.classes, ["tench", "goldfish", "shark", "ray"]);
    assert_eq!(recipe.guidance, Guidance::ClassifierFree);
    let scale = golden.texts()["guidance_scale"].as_f64().expect("a number");
    let inputs = Inputs {
        prompt: Some(text(&pipeline, ["ray", "tench"])),
        w: Some(vec![scale - 1.0; 2]),
        ..Inputs::default()
    };
    let denoiser = pipeline.model.denoiser().expect("a schedule");
    let spacing = recipe.default_sampler.expect("a scheduler").spacing;
    let grid = TimeGrid::new(&denoiser.schedule, spacing, 5).expect("a grid");
    let mut seen = vec![];
    let last = sampler::sample(
        Sampler::DDIM,
        &CfgDenoiser::new(denoiser),
        golden.tensor("z"),
        &inputs,
        &grid,
        &StepNoise::new(0, vec![0, 1]),
        &mut |step| {
            seen.push(step.prediction.z());
            ControlFlow::Continue(())
        },
    )
    .expect("not cancelled");
    seen.remove(0);
    seen.push(last.clone());
    golden.assert_equal("ddim", Tensor::cat(seen, 0));
    golden.assert_equal("image", pipeline.vae.decode(last, None));
}

/// Of files in a folder, and of a single file.
fn tensors(files: &[(&str, &std::path::Path)]) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for (prefix, path) in files {
        let bytes = std::fs::read(path).expect("a file");
        let file = SafeTensors::deserialize(&bytes).expect("safetensors");
        for (name, view) in file.tensors() {
            all.insert(format!("{prefix}{name}"), view.data().to_vec());
        }
    }
    all
}

#[test]
fn a_single_file_has_the_names_of_the_first_code_and_comes_back() {
    let golden = Golden::new("classes");
    let pipeline = golden.pipeline();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("model.safetensors");
    pipeline
        .save_single(&pipeline.model, None, &file)
        .expect("written");
    let single = tensors(&[("", &file)]);
    let of_folder = |folder: &std::path::Path| {
        let weights = "diffusion_pytorch_model.safetensors";
        tensors(&[
            ("unet/", &folder.join("unet").join(weights)),
            ("vae/", &folder.join("vae").join(weights)),
            (
                "class_embedder/",
                &folder.join("class_embedder/model.safetensors"),
            ),
        ])
    };
    let stored = of_folder(golden.folder());
    let names = std::fs::read(golden.folder().join("single_file.json")).expect("a file");
    let names: BTreeMap<String, String> = serde_json::from_slice(&names).expect("JSON");
    assert_eq!((names.len(), names.len()), (single.len(), stored.len()));
    for (own, name) in names {
        assert!(
            single.get(&name) == Some(&stored[&own]),
            "{own} is not {name}"
        );
    }
    let back = folder.path().join("back");
    pipeline
        .import_single(&file, fewstep_formats::Pickles::Refused, &back)
        .expect("a folder");
    assert!(of_folder(&back) == stored);
    let back = Pipeline::load(&back, &Device::flex()).expect("a whole model");
    assert_eq!(back.model.recipe, pipeline.model.recipe);
}

#[test]
fn a_folder_of_classes_comes_back_as_it_was() {
    let golden = Golden::new("classes");
    let pipeline = golden.pipeline();
    let folder = tempfile::tempdir().expect("a folder");
    let saved = pipeline
        .components
        .save_pipeline(&pipeline.model, folder.path());
    saved.expect("written");
    let back = Pipeline::load(folder.path(), &Device::flex()).expect("a whole model");
    assert_eq!(back.model.recipe, pipeline.model.recipe);
    assert_eq!(back.model.weights_hash(), pipeline.model.weights_hash());
    assert_eq!(back.text_encoder.classes(), pipeline.text_encoder.classes());
}

#[test]
fn what_is_wrong_with_classes_and_codes_is_told() {
    let (classes, vae) = ("class_embedder/config.json", "vae/config.json");
    for (file, field, value, said) in [
        (
            classes,
            "n_classes",
            json!(4),
            "`n_classes` is 4 and `classes` has 4 names",
        ),
        (classes, "embed_dim", json!(8), "[5, 8]"),
        (classes, "magic", json!(1), "`magic`"),
        (
            vae,
            "norm_type",
            json!("spatial"),
            "`norm_type` is \"spatial\"",
        ),
        (vae, "num_vq_embeddings", json!(31), "[31, 3]"),
        ("unet/config.json", "cross_attention_dim", json!(5), "to_k"),
        (
            "model_index.json",
            "class_embedder",
            json!(["a", "B"]),
            "ClassEmbedder",
        ),
    ] {
        let copy = Copy::of_golden(&Golden::new("classes"));
        copy.set(file, field, value);
        copy.refused(&[said]);
    }
    // Without names they are numbers.
    let copy = Copy::of_golden(&Golden::new("classes"));
    copy.set(classes, "classes", json!(null));
    let read = Pipeline::load(&copy.path(""), &Device::flex()).expect("a whole model");
    assert_eq!(read.model.recipe.classes, ["0", "1", "2", "3"]);
}
