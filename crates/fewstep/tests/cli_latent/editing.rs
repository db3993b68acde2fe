//! Latent models that learn a condition.

use super::*;

/// Learns a condition and few steps in latent space, is killed and resumed, and generates from
/// images and prompts.
#[test]
fn a_stable_diffusion_learns_to_edit_by_instruction() {
    let workspace = workspace();
    let before = before(&workspace);
    let text = CODI.replace("BEFORE", &before.display().to_string());
    let recipe = recipe(&workspace, "codi.toml", &text, "sd1");
    workspace.succeed(&["distill", &recipe, "--out", "whole"]);
    let kills = workspace.run_with_kills(&["distill", &recipe, "--out", "killed"]);
    assert!(kills > 1, "the run ended before it could be killed");
    assert_same_run(
        &workspace.path("whole"),
        &workspace.path("killed"),
        &["codi"],
    );
    assert_eq!(caches(&workspace).len(), 2, "latents, and images to edit");
    assert!(workspace.path("whole/samples/codi.png").is_file());
    let model = workspace.path("whole/models/codi");
    let index = json(&model.join("model_index.json"));
    assert_eq!(index["_class_name"], "StableDiffusionControlNetPipeline");
    assert_eq!(index["controlnet"][1], "ControlNetModel");

    let generate = |out: &str, more: &[&str]| {
        let words = [
            "instruct",
            "--model",
            "whole",
            "--image",
            "before/3.png",
            "--steps",
            "2",
        ];
        workspace.succeed(&[&words[..], &["--out", out], more].concat());
        std::fs::read(workspace.path(out)).expect("written")
    };
    let cat = generate("cat.png", &["--prompt", "an orange cat"]);
    assert_eq!(cat, generate("again.png", &["--prompt", "an orange cat"]));
    let words = [
        "upscale",
        "--model",
        "whole",
        "--image",
        "before/3.png",
        "--out",
        "x.png",
    ];
    workspace.refuse(&words, &["instruct"]);
    let words = [
        "sample", "--model", "whole", "--prompt", "a cat", "--out", "x.png",
    ];
    workspace.refuse(&words, &["fewstep instruct"]);

    // The same as a ControlNet, which another fine-tune of its base takes.
    workspace.succeed(&[
        "distill",
        &recipe,
        "--set",
        "train=controlnet",
        "--out",
        "controlnet",
    ]);
    let base = golden_path("sd1");
    let adapted = [
        "instruct",
        "--model",
        &base,
        "--controlnet",
        "controlnet/models/codi",
    ];
    let words = [
        "--image",
        "before/3.png",
        "--steps",
        "1",
        "--out",
        "adapted.png",
    ];
    workspace.succeed(&[&adapted[..], &words].concat());
    std::fs::remove_file(before.join("7.png")).expect("removed");
    workspace.refuse(
        &["distill", &recipe, "--out", "bad"],
        &["7.png needs", "no image named `7`"],
    );
}

/// A ControlNet of other tools, in diffusers' folder, brings control images to its base.
#[test]
fn a_controlnet_of_diffusers_renders() {
    let workspace = workspace();
    let (sdxl, place) = (golden("sdxl"), workspace.path("canny"));
    std::fs::create_dir(&place).expect("made");
    for (file, name) in [
        ("controlnet.json", "config.json"),
        (
            "controlnet.safetensors",
            "diffusion_pytorch_model.safetensors",
        ),
    ] {
        std::fs::copy(sdxl.join(file), place.join(name)).expect("copied");
    }
    let base = golden_path("sdxl");
    let render = |control: &str, out: &str| {
        let words = ["render", "--model", &base, "--controlnet", "canny"];
        let more = ["--image", control, "--prompt", "a", "--steps", "2"];
        workspace.succeed(&[&words[..], &more, &["--out", out]].concat());
        let image = image::read(&workspace.path(out), None, 3).expect("an image");
        assert_eq!(image.shape.width, 16);
        image.pixels
    };
    let one = render("captioned/0.png", "one.png");
    assert_ne!(one, render("captioned/5.png", "other.png"));
    let sd1 = golden_path("sd1");
    let words = ["render", "--model", &sd1, "--controlnet", "canny"];
    let more = ["--image", "captioned/0.png", "--prompt", "a"];
    workspace.refuse(
        &[&words[..], &more, &["--out", "x.png"]].concat(),
        &["the ControlNet does not fit this base"],
    );
}
