//! SDXL: every network on its own, and from a text to an image (tools/golden/sdxl.py).

use crate::golden::Golden;
use burn::tensor::{Device, Tensor};
use fewstep_diffusion::sampler::{self, StepNoise};
use fewstep_diffusion::{
    CfgDenoiser, ControlSpec, Inputs, Network, PromptEmbeds, Sampler, Spacing, Task, TextEmbeds,
    TimeGrid, TimeIds,
};
use fewstep_formats::{ControlNetModel, Model, Pipeline, TextEncoder, read_lora};
use fewstep_nn::{BackboneConfig, Fusion, LoraConfig, Vae};
use safetensors::SafeTensors;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;

fn golden() -> Golden {
    Golden::new("sdxl")
}

/// A model on the stored inputs.
fn forward(golden: &Golden, model: &Model, control: Option<Tensor<4>>) -> Tensor<4> {
    let cond = TextEmbeds {
        states: golden.tensor("unet.states"),
        pooled: Some(golden.tensor("unet.pooled")),
    };
    let numbers = golden.values("unet.time_ids");
    let pair = |ids: &[f32], at: usize| [ids[at] as usize, ids[at + 1] as usize];
    let ids = numbers.chunks(TimeIds::COUNT).map(|ids| TimeIds {
        original: pair(ids, 0),
        crop: pair(ids, 2),
        target: pair(ids, 4),
    });
    let inputs = Inputs {
        prompt: Some(PromptEmbeds {
            uncond: cond.zeros_like(),
            cond,
        }),
        time_ids: Some(ids.collect()),
        control,
        ..Inputs::default()
    };
    let times = golden.values("unet.time").into_iter().map(f64::from);
    let times: Vec<f64> = times.collect();
    model
        .network
        .forward(golden.tensor("unet.z"), &times, &inputs)
}

/// Transformers of several depths, a pooled embedding, and sizes and crop that differ from each
/// other.
#[test]
fn the_unet_of_sdxl_equals_diffusers() {
    let golden = golden();
    let BackboneConfig::UNet(config) = golden.pipeline().model.network.config();
    assert_eq!(config.depths, [1, 2, 3]);
    let output = forward(&golden, &golden.pipeline().model, None);
    golden.assert_equal("unet.output", output);
}

#[test]
fn both_text_encoders_of_sdxl_equal_those_of_transformers() {
    let golden = golden();
    let encoder = golden.pipeline().text_encoder;
    let texts = golden.texts();
    let prompts: Vec<String> = serde_json::from_value(texts["prompts"].clone()).expect("texts");
    let (embeds, cut) = encoder.encode(&prompts[..3], 0);
    golden.assert_equal("text.states", embeds.states);
    golden.assert_equal("text.pooled", embeds.pooled.expect("a pooled embedding"));
    assert_eq!(cut, [None, None, None]);
    // The second tokenizer fills up with another token.
    let TextEncoder::Two(encoders) = &encoder else {
        panic!("SDXL has two encoders")
    };
    let tokens: [Vec<Vec<u32>>; 2] = ["tokens", "tokens_2"]
        .map(|key| serde_json::from_value(texts[key].clone()).expect("lists"));
    assert_ne!(tokens[0], tokens[1]);
    for (number, prompt) in prompts.iter().enumerate() {
        for (ours, theirs) in encoders.tokens_of_both(prompt).iter().zip(&tokens) {
            assert_eq!(ours.numbers, theirs[number], "{prompt:?}");
        }
    }
}

/// The empty negative prompt is zeros, another one is encoded; height and width are told apart.
#[test]
fn sdxl_follows_diffusers_from_a_text_to_an_image() {
    let golden = golden();
    let pipeline = golden.pipeline();
    let texts = golden.texts();
    let said = |key: &str| texts[key].as_str().expect("a text").to_string();
    let scale = texts["guidance_scale"].as_f64().expect("a number");
    let denoiser = CfgDenoiser::new(pipeline.model.denoiser().expect("a schedule"));
    let schedule = &pipeline.model.denoiser().expect("a schedule").schedule;
    let grid = TimeGrid::new(schedule, Spacing::LEADING_OFFSET_1, 5).expect("a grid");
    for (name, negative) in [("empty", String::new()), ("negative", said("negative"))] {
        let (text, _) = pipeline.embed_prompts(&[said("prompt")], &negative);
        let inputs = Inputs {
            prompt: Some(text),
            w: Some(vec![scale - 1.0]),
            time_ids: Some(vec![TimeIds::whole([16, 32])]),
            ..Inputs::default()
        };
        let mut seen = vec![];
        let last = sampler::sample(
            Sampler::DDIM,
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
        golden.assert_equal(&format!("{name}.latents"), Tensor::cat(seen, 0));
        let image = pipeline.vae.decode(last, None) / 2.0 + 0.5;
        let image = image.clamp(0.0, 1.0);
        golden.assert_equal(&format!("{name}.image"), image.clone());
        // The scheduler of the folder is Euler's method, which is DDIM in other variables.
        if name == "empty" {
            golden.assert_equal("euler.image", image);
        }
    }
    assert!(matches!(&pipeline.vae, Vae::Kl(_, scale) if scale.factor == 0.13025));
}

/// The stored ControlNet of diffusers, described as one of ours.
fn controlnet(golden: &Golden) -> ControlNetModel {
    let model = golden.pipeline().model;
    let BackboneConfig::UNet(base) = model.network.config();
    let mut recipe = model.recipe;
    recipe.control = Some(ControlSpec {
        task: Task::Depth,
        shape: [3, 16, 16],
    });
    let mut config = base.controlnet_for([3, 16, 16], [4, 8, 8], Fusion::ZeroConv);
    config.stem = vec![8, 12];
    let description = serde_json::json!({"base": base, "controlnet": config, "recipe": recipe});
    let bytes = std::fs::read(golden.folder().join("controlnet.safetensors")).expect("a file");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let metadata = HashMap::from([("fewstep".to_string(), description.to_string())]);
    let described = safetensors::serialize(file.tensors(), Some(metadata)).expect("bytes");
    let place = tempfile::tempdir().expect("a folder");
    let path = place.path().join("controlnet.safetensors");
    std::fs::write(&path, described).expect("written");
    ControlNetModel::load(&path, &Device::flex()).expect("a ControlNet")
}

#[test]
fn a_controlnet_of_sdxl_equals_diffusers() {
    let golden = golden();
    let model = golden.pipeline().model;
    let model = model
        .with_controlnet(controlnet(&golden))
        .expect("made for it");
    let output = forward(&golden, &model, Some(golden.tensor("control.image")));
    golden.assert_equal("control.output", output);
}

/// The folder of a ControlNet as diffusers writes it, with other values of fields.
fn folder_of_diffusers(golden: &Golden, fields: &[(&str, serde_json::Value)]) -> tempfile::TempDir {
    let place = tempfile::tempdir().expect("a folder");
    let config = std::fs::read(golden.folder().join("controlnet.json")).expect("a file");
    let mut config: serde_json::Value = serde_json::from_slice(&config).expect("JSON");
    for (field, value) in fields {
        config[field] = value.clone();
    }
    std::fs::write(place.path().join("config.json"), config.to_string()).expect("written");
    let weights = golden.folder().join("controlnet.safetensors");
    let name = "diffusion_pytorch_model.fp16.safetensors";
    std::fs::copy(weights, place.path().join(name)).expect("copied");
    place
}

/// Of another tool, with control images in [0, 1] where ours are in [-1, 1].
#[test]
fn a_controlnet_in_the_folder_of_diffusers_equals_diffusers() {
    let golden = golden();
    let model = golden.pipeline().model;
    let place = folder_of_diffusers(&golden, &[]);
    let controlnet = ControlNetModel::load_for(place.path(), &model, &Device::flex());
    let model = model
        .with_controlnet(controlnet.expect("a ControlNet"))
        .expect("made for it");
    let control = model.recipe.control.expect("a control image");
    assert_eq!((control.task, control.shape), (Task::Image, [3, 16, 16]));
    let image = golden.tensor::<4>("control.image") * 2.0 - 1.0;
    let output = forward(&golden, &model, Some(image));
    golden.assert_equal("control.output", output);
}

#[test]
fn a_controlnet_of_a_kind_that_is_not_supported_is_refused() {
    let golden = golden();
    let model = golden.pipeline().model;
    for (field, value, said) in [
        (
            "_class_name",
            "ControlNetUnionModel".into(),
            "ControlNetUnionModel",
        ),
        ("controlnet_conditioning_channel_order", "bgr".into(), "bgr"),
        (
            "global_pool_conditions",
            true.into(),
            "global_pool_conditions",
        ),
        ("conditioning_channels", 0.into(), "channels"),
        (
            "conditioning_channels",
            4.into(),
            "controlnet_cond_embedding",
        ),
        ("encoder_hid_dim", 8.into(), "encoder_hid_dim"),
        ("cross_attention_dim", 24.into(), "to_k"),
    ] {
        let place = folder_of_diffusers(&golden, &[(field, value)]);
        let read = ControlNetModel::load_for(place.path(), &model, &Device::flex());
        let error = read.expect_err(field).to_string();
        assert!(error.contains(said), "{field}: {error}");
    }
    // A folder of another model's, and none.
    let place = folder_of_diffusers(&golden, &[]);
    let other = Golden::new("sd1").pipeline().model;
    let read = ControlNetModel::load_for(place.path(), &other, &Device::flex());
    let refused = other.with_controlnet(read.expect("a ControlNet"));
    let error = refused.expect_err("another base").to_string();
    assert!(error.contains("was made for a base"), "{error}");
    let empty = tempfile::tempdir().expect("a folder");
    let read = ControlNetModel::load_for(empty.path(), &golden.pipeline().model, &Device::flex());
    assert!(read.is_err());
}

/// Layers of every kind, under the names by which diffusers' converter finds them again.
#[test]
fn a_lora_of_sdxl_has_the_names_of_sd_scripts() {
    let golden = golden();
    let names = std::fs::read(golden.folder().join("kohya.json")).expect("a file");
    let names: BTreeMap<String, String> = serde_json::from_slice(&names).expect("JSON");
    let mut model = golden.pipeline().model;
    let config = LoraConfig {
        rank: 2,
        alpha: 1.0,
        targets: names.keys().cloned().collect(),
    };
    model.network = model.network.with_lora(&config, 1).expect("layers");
    let layers = model.network.lora().expect("a LoRA").layers();
    assert_eq!(layers.len(), names.len());
    let folder = tempfile::tempdir().expect("a folder");
    model.save(folder.path()).expect("written");
    let bytes = std::fs::read(folder.path().join("lora/kohya.safetensors")).expect("a file");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let ours: BTreeSet<&str> = file.names().into_iter().collect();
    let parts = ["lora_down.weight", "lora_up.weight", "alpha"];
    let theirs = names.values();
    let theirs: Vec<String> = theirs
        .flat_map(|name| parts.map(|part| format!("{name}.{part}")))
        .collect();
    assert_eq!(ours, theirs.iter().map(String::as_str).collect());
    let (_, header) = SafeTensors::read_metadata(&bytes).expect("a header");
    let said = header.metadata().clone().expect("metadata");
    assert_eq!(
        said["modelspec.architecture"],
        "stable-diffusion-xl-v1-base/lora"
    );
    let back = read_lora(folder.path(), model.network.clone()).expect("the same layers");
    let down = |layers: Vec<fewstep_nn::LoraLayer>| layers.into_iter().map(|layer| layer.down);
    let back = down(back.lora().expect("a LoRA").layers());
    assert!(back.eq(down(layers)));
}

/// The refiner has only the second text encoder.
#[test]
fn the_refiner_is_refused_by_name() {
    let place = tempfile::tempdir().expect("a folder");
    let golden = golden();
    let index = std::fs::read_to_string(golden.folder().join("model_index.json")).expect("a file");
    let mut index: serde_json::Value = serde_json::from_str(&index).expect("JSON");
    index["text_encoder"] = serde_json::json!([null, null]);
    index["tokenizer"] = serde_json::json!([null, null]);
    index["requires_aesthetics_score"] = true.into();
    let path = place.path().join("model_index.json");
    std::fs::write(path, index.to_string()).expect("written");
    let error = Pipeline::load(place.path(), &Device::flex()).expect_err("refused");
    let error = error.to_string();
    assert!(
        error.contains("refiner") && error.contains("base"),
        "{error}"
    );
}
