//! Models of other tools' kinds.

use super::*;

#[test]
fn other_tools_models_are_known_for_what_they_are() {
    let home = folder();
    let folder = home.path();
    // Latents, whose network alone looks like one on pixels.
    golden(folder, "pixel/ddpm", "ldm");
    let index = json!({
        "_class_name": "LDMPipeline",
        "scheduler": ["diffusers", "DDIMScheduler"],
        "unet": ["diffusers", "UNet2DModel"],
        "vqvae": ["diffusers", "VQModel"],
    });
    std::fs::write(folder.join("ldm/model_index.json"), index.to_string()).expect("written");
    for words in [
        &["info", "ldm"][..],
        &["sample", "--model", "ldm", "--out", "x.png"],
    ] {
        refuse(folder, words, &["`LDMPipeline`", "`vae`"]);
    }
    // A network that sees an image next to the noise.
    golden(folder, "latent/inpaint", "pix2pix");
    let config = folder.join("pix2pix/unet/config.json");
    edit(&config, |config| config["in_channels"] = json!(8));
    for command in ["sample", "inpaint", "info"] {
        let model = match command {
            "info" => vec!["info", "pix2pix"],
            "sample" => vec!["sample", "--model", "pix2pix", "--prompt", "x"],
            _ => vec![
                "inpaint", "--model", "pix2pix", "--prompt", "x", "--image", "a.png", "--mask",
                "a.png", "--out", "x.png",
            ],
        };
        refuse(folder, &model, &["8 channels", "InstructPix2Pix"]);
    }
}

#[test]
fn a_network_without_a_middle_generates_and_is_distilled_as_any() {
    let home = folder();
    let folder = home.path();
    golden(folder, "latent/sd1", "small");
    edit(&folder.join("small/unet/config.json"), |config| {
        config["mid_block_type"] = Value::Null
    });
    let weights = folder.join("small/unet/diffusion_pytorch_model.fp16.safetensors");
    edit_tensors(&weights, |tensors, _| {
        tensors.retain(|(name, ..)| !name.starts_with("mid_block"))
    });
    let words = [
        "sample", "--prompt", "x", "--steps", "1", "--out", "x.png", "--model",
    ];
    succeed(folder, &[&words[..], &["small"]].concat());
    let generated = std::fs::read(folder.join("x.png")).expect("generated");
    // It comes back as it is, with and without our description.
    succeed(folder, &["export", "--model", "small", "--out", "copy"]);
    let config = std::fs::read_to_string(folder.join("copy/unet/config.json")).expect("there");
    let config: Value = serde_json::from_str(&config).expect("JSON");
    assert_eq!(config.get("mid_block_type"), Some(&Value::Null));
    let text = |bytes: &[u8]| fewstep_data::image::decode(bytes, "x", None, 3).expect("an image");
    succeed(folder, &[&words[..], &["copy"]].concat());
    assert_eq!(
        text(&std::fs::read(folder.join("x.png")).expect("generated")),
        text(&generated)
    );
    let alone = folder.join("copy").join(WEIGHTS_FILE);
    Model::load(&alone, &Device::flex()).expect("whole by itself");
}

#[test]
fn info_knows_latent_models() {
    let home = folder();
    let folder = home.path();
    for (name, parts) in [
        (
            "sd1",
            &[
                "16x16 pixels, from latents of 8x8 with 4 channels",
                "prompts",
                "vae: AutoencoderKL",
                "text_encoder: CLIPTextModel",
                "--prompt",
            ][..],
        ),
        ("inpaint", &["mask", "prompts", "fewstep inpaint"]),
        (
            "classes",
            &[
                "latents",
                "Classes",
                "vae: VQModel",
                "class_embedder: ClassEmbedder",
            ],
        ),
    ] {
        golden(folder, &format!("latent/{name}"), name);
        let (said, _) = succeed(folder, &["info", name]);
        for part in parts {
            assert!(said.contains(part), "{name}: no `{part}` in:\n{said}");
        }
        assert!(!said.contains("unconditional"), "{said}");
    }
    // What is made of one is known too.
    succeed(folder, &["export", "--model", "sd1", "--out", "copy"]);
    let (said, _) = succeed(folder, &["info", "copy", "--json"]);
    let facts: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(facts["components"]["reads_texts"], true);
}
