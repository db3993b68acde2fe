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
    // A network that sees a depth map next to the noise.
    golden(folder, "latent/inpaint", "depth");
    let config = folder.join("depth/unet/config.json");
    edit(&config, |config| config["in_channels"] = json!(5));
    for command in ["sample", "inpaint", "info"] {
        let model = match command {
            "info" => vec!["info", "depth"],
            "sample" => vec!["sample", "--model", "depth", "--prompt", "x"],
            _ => vec![
                "inpaint", "--model", "depth", "--prompt", "x", "--image", "a.png", "--mask",
                "a.png", "--out", "x.png",
            ],
        };
        refuse(folder, &model, &["5 channels", "8 with a source image"]);
    }
}

#[test]
fn pipelines_of_other_networks_are_refused_by_their_class() {
    let home = folder();
    let folder = home.path();
    let recipe = r#"
seed = 1
teacher = "other"
[data]
kind = "folder"
path = "other"
[guided]
updates = 1
optim = { batch = 1, lr = 1e-3 }
[run]
log_every = 1
checkpoint_every = 1
"#;
    std::fs::write(folder.join("recipe.toml"), recipe).expect("written");
    let of_diffusers = |kind: &str| json!(["diffusers", kind]);
    for (class, parts) in [
        (
            "StableDiffusion3Pipeline",
            [
                ("transformer", "SD3Transformer2DModel"),
                ("vae", "AutoencoderKL"),
            ],
        ),
        (
            "FluxPipeline",
            [
                ("transformer", "FluxTransformer2DModel"),
                ("vae", "AutoencoderKL"),
            ],
        ),
        (
            "PixArtSigmaPipeline",
            [
                ("transformer", "PixArtTransformer2DModel"),
                ("vae", "AutoencoderKL"),
            ],
        ),
        (
            "LDMPipeline",
            [("unet", "UNet2DModel"), ("vqvae", "VQModel")],
        ),
        (
            "KandinskyV22Pipeline",
            [("unet", "UNet2DConditionModel"), ("movq", "VQModel")],
        ),
        (
            "WuerstchenDecoderPipeline",
            [
                ("decoder", "WuerstchenDiffNeXt"),
                ("vqgan", "PaellaVQModel"),
            ],
        ),
        (
            "StableVideoDiffusionPipeline",
            [
                ("unet", "UNetSpatioTemporalConditionModel"),
                ("vae", "AutoencoderKLTemporalDecoder"),
            ],
        ),
    ] {
        let mut index = json!({ "_class_name": class });
        for (part, kind) in parts {
            index[part] = of_diffusers(kind);
            std::fs::create_dir_all(folder.join("other").join(part)).expect("made");
        }
        let file = folder.join("other/model_index.json");
        std::fs::write(file, index.to_string()).expect("written");
        let parts = [&*format!("`{class}`"), "Stable Diffusion 1.x"];
        for words in [
            &["info", "other"][..],
            &["sample", "--model", "other", "--out", "x.png"],
            &["distill", "recipe.toml", "--out", "run"],
        ] {
            refuse(folder, words, &parts);
        }
        std::fs::remove_dir_all(folder.join("other")).expect("removed");
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

const GENERATE: [&str; 9] = [
    "sample", "--model", "model", "--prompt", "x", "--steps", "2", "--out", "x.png",
];

fn with_scheduler(folder: &Path, config: Value) {
    let path = folder.join("model/scheduler/scheduler_config.json");
    std::fs::write(path, config.to_string()).expect("written");
}

/// A model needs of its scheduler the noise schedule and the prediction.
#[test]
fn solvers_that_are_not_ours_are_replaced() {
    let home = folder();
    let folder = home.path();
    golden(folder, "latent/sd1", "model");
    let betas = json!({
        "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
        "prediction_type": "epsilon",
    });
    let with = |class: &str, more: Value| {
        let mut config = betas.clone();
        config["_class_name"] = json!(class);
        for (field, value) in more.as_object().expect("fields") {
            config[field] = value.clone();
        }
        with_scheduler(folder, config);
        succeed(folder, &GENERATE)
    };
    for (class, more, named, sampler) in [
        (
            "DEISMultistepScheduler",
            json!({"solver_order": 3}),
            "`DEISMultistepScheduler`",
            "dpm-solver++",
        ),
        (
            "LMSDiscreteScheduler",
            json!({"use_karras_sigmas": true}),
            "`use_karras_sigmas`",
            "dpm-solver++",
        ),
        (
            "KDPM2AncestralDiscreteScheduler",
            json!({}),
            "`KDPM2AncestralDiscreteScheduler`",
            "dpm-solver++",
        ),
        (
            "DPMSolverSinglestepScheduler",
            json!({}),
            "`DPMSolverSinglestepScheduler`",
            "dpm-solver++",
        ),
        (
            "DPMSolverSDEScheduler",
            json!({}),
            "`DPMSolverSDEScheduler`",
            "dpm-solver++",
        ),
        (
            "DPMSolverMultistepScheduler",
            json!({"algorithm_type": "sde-dpmsolver++"}),
            "`algorithm_type`",
            "dpm-solver++",
        ),
        (
            "DPMSolverMultistepScheduler",
            json!({"solver_order": 3}),
            "`solver_order`",
            "dpm-solver++",
        ),
        (
            "DPMSolverMultistepScheduler",
            json!({"timestep_spacing": "leading"}),
            "`steps_offset`",
            "dpm-solver++",
        ),
        (
            "EulerDiscreteScheduler",
            json!({"use_karras_sigmas": true}),
            "`use_karras_sigmas`",
            "ddim",
        ),
        (
            "UniPCMultistepScheduler",
            json!({"predict_x0": false}),
            "`predict_x0`",
            "unipc",
        ),
        (
            "SchedulerOfTomorrow",
            json!({"magic": 3}),
            "`SchedulerOfTomorrow`",
            "ddim",
        ),
    ] {
        let (out, said) = with(class, more);
        assert!(
            said.contains(named) && said.contains("stands in"),
            "{class}: {said}"
        );
        assert!(out.contains(sampler), "{class}: {out}");
    }
    // What a scheduler does not have, others left in the file.
    for (class, more) in [
        (
            "EulerDiscreteScheduler",
            json!({"set_alpha_to_one": false, "clip_sample": true, "skip_prk_steps": true, "clip_sample_range": 3}),
        ),
        (
            "DPMSolverMultistepScheduler",
            json!({"set_alpha_to_one": false, "use_karras_sigmas": null}),
        ),
        (
            "UniPCMultistepScheduler",
            json!({"set_alpha_to_one": false, "lower_order_final": true}),
        ),
        (
            "HeunDiscreteScheduler",
            json!({"set_alpha_to_one": false, "final_sigmas_type": "sigma_min"}),
        ),
        (
            "DDIMScheduler",
            json!({"use_karras_sigmas": true, "solver_order": 3, "clip_sample": false}),
        ),
    ] {
        let (_, said) = with(class, more);
        assert!(!said.contains("WARN"), "{class}: {said}");
    }
    // The noise schedule is another when the model is.
    for (class, more, named) in [
        (
            "FlowMatchEulerDiscreteScheduler",
            json!({}),
            "predicts a flow",
        ),
        ("EDMEulerScheduler", json!({}), "EDM"),
        (
            "EulerDiscreteScheduler",
            json!({"timestep_type": "continuous"}),
            "`timestep_type`",
        ),
    ] {
        let mut config = more;
        config["_class_name"] = json!(class);
        with_scheduler(folder, config);
        refuse(folder, &GENERATE, &[named]);
    }
    with_scheduler(folder, json!({"_class_name": "SchedulerOfTomorrow"}));
    refuse(folder, &GENERATE, &["`SchedulerOfTomorrow`", "no betas"]);
}

#[test]
fn latent_consistency_models_are_students() {
    let home = folder();
    let folder = home.path();
    golden(folder, "latent/tiny", "model");
    std::fs::remove_file(folder.join("model/fewstep.json")).ok();
    with_scheduler(
        folder,
        json!({
            "_class_name": "LCMScheduler", "beta_start": 0.00085, "beta_end": 0.012,
            "beta_schedule": "scaled_linear", "original_inference_steps": 50, "set_alpha_to_one": true,
            "clip_sample": false, "steps_offset": 1, "timestep_scaling": 10.0,
        }),
    );
    let words = [
        "sample", "--model", "model", "--prompt", "x", "--json", "--out", "x.png",
    ];
    let (said, warned) = succeed(folder, &words);
    assert!(!warned.contains("WARN"), "{warned}");
    let summary: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(summary["sampler"], "multistep-consistency", "{said}");
    assert_eq!(summary["steps"], 4, "{said}");
    refuse(
        folder,
        &[&words[..], &["--sampler", "dpm-solver++"]].concat(),
        &["student"],
    );
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
            "instruct",
            &["source image", "3 network calls a step", "fewstep instruct"],
        ),
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
