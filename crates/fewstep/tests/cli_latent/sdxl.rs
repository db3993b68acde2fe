//! SDXL: two text encoders, a pooled embedding, and sizes.

use super::*;

/// Both stages as a LoRA, then every form that a student is written in.
#[test]
fn a_student_of_sdxl_goes_through_every_form() {
    let workspace = workspace();
    let text =
        format!("{DISTILL}[lora]\nrank = 2\nalpha = 3.0\n").replace("updates = 6", "updates = 2");
    let recipe = recipe(&workspace, "lora.toml", &text, "sdxl");
    workspace.succeed(&["distill", &recipe, "--out", "students"]);
    let cache = caches(&workspace);
    let cache = tensors(&cache[0]);
    let (shape, pooled) = &cache["pooled"];
    assert_eq!(*shape, [1 + CAPTIONS.len(), 10]);
    // The empty prompt is zeros; captions are not.
    assert!(pooled[..10].iter().all(|value| *value == 0.0));
    assert!(
        pooled[10..]
            .chunks(10)
            .all(|text| text.iter().any(|v| *v != 0.0))
    );

    let export = ["export", "--model", "students", "--steps", "2"];
    let written = |words: &[&str]| drop(workspace.succeed(&[&export[..], words].concat()));
    let bake = ["--bake-w", "3", "--out"];
    written(&[&["--form", "folder"][..], &bake, &["fixed"]].concat());
    written(&[&["--form", "single-file"][..], &bake, &["one.safetensors"]].concat());
    written(&[&["--form", "gguf"][..], &bake, &["unet.gguf"]].concat());
    written(&[&["--form", "lora"][..], &bake, &["lora"]].concat());
    let kohya = tensors(&workspace.path("lora/kohya.safetensors"));
    // The names of sd-scripts for SDXL, the bias of the baked w among them.
    assert!(kohya.contains_key("lora_unet_time_embed_0.diff_b"));
    let layer = "lora_unet_input_blocks_3_1_transformer_blocks_1_attn2_to_k.lora_up.weight";
    assert!(kohya.contains_key(layer));
    let gguf = std::fs::read(workspace.path("unet.gguf")).expect("there");
    assert!(gguf.windows(4).any(|bytes| bytes == b"sdxl"));

    let like = golden_path("sdxl");
    let import = ["import", "--file", "one.safetensors", "--like", &like];
    workspace.succeed(&[&import[..], &["--out", "back"]].concat());
    let [fixed, back] = ["fixed", "back"].map(|model| {
        tensors(
            &workspace
                .path(model)
                .join("unet/diffusion_pytorch_model.safetensors"),
        )
    });
    assert!(fixed == back, "a weight changed on the way");
    // Height and width are told apart.
    let sample = [
        "sample", "--model", "fixed", "--prompt", "a cat", "--count", "1",
    ];
    workspace.succeed(&[&sample[..], &["--size", "16x32", "--out", "wide.png"]].concat());
}

/// A ControlNet has the second embedding too, and its folder names diffusers' pipeline for SDXL.
#[test]
fn a_controlnet_of_sdxl_is_trained_and_named() {
    let workspace = workspace();
    let text = CODI
        .replace("updates = 6", "updates = 2\ntrain = \"controlnet\"")
        .replace(
            "{ kind = \"instruct\", path = \"BEFORE\" }",
            "{ kind = \"edges\" }",
        );
    let recipe = recipe(&workspace, "codi.toml", &text, "sdxl");
    workspace.succeed(&["distill", &recipe, "--out", "codi"]);
    let folder = workspace.path("codi/models/codi");
    let index = json(&folder.join("model_index.json"));
    assert_eq!(index["_class_name"], "StableDiffusionXLControlNetPipeline");
    let config = json(&folder.join("controlnet/config.json"));
    assert_eq!(config["addition_embed_type"], "text_time");
    assert_eq!(
        config["transformer_layers_per_block"],
        serde_json::json!([1, 2, 3])
    );
}
