//! Models that see the image to edit next to the noise (InstructPix2Pix).

use super::*;

/// A workspace with images before and after an edit, and a recipe for them with more settings.
fn edits(more: &str) -> (Workspace, String) {
    let workspace = workspace();
    let before = before(&workspace);
    // No flat images, so that mirrored ones are others.
    for image in 0..10 {
        write_pattern(&before.join(format!("{image}.png")), 30 + image, [16, 16]);
    }
    let condition = format!(
        "condition = {{ kind = \"instruct\", path = \"{}\" }}\n",
        before.display()
    );
    let text = format!("{condition}{more}{DISTILL}");
    let recipe = recipe(&workspace, "distill.toml", &text, "instruct");
    (workspace, recipe)
}

/// The pixels of the first image before, edited with more flags.
fn edited(workspace: &Workspace, model: &str, more: &[&str]) -> Vec<u8> {
    let words = ["instruct", "--model", model, "--image", "before/0.png"];
    let words = [&words[..], more, &["--out", "edited.png"]].concat();
    workspace.succeed(&words);
    let file = workspace.path("edited.png");
    image::read(&file, None, 3).expect("an image").pixels
}

const CAT: [&str; 2] = ["--prompt", "an orange cat"];

#[test]
fn a_model_that_edits_by_instruction_is_distilled_killed_and_resumed() {
    let (workspace, recipe) = edits("image_guidance = 2.5\n");
    workspace.succeed(&["distill", &recipe, "--out", "students"]);
    let kills = workspace.run_with_kills(&["distill", &recipe, "--out", "killed"]);
    assert!(kills > 1, "the run ended before it could be killed");
    let (whole, killed) = (workspace.path("students"), workspace.path("killed"));
    assert_same_run(&whole, &killed, &["guided", "steps-2", "steps-1"]);
    let config = json(&whole.join("models/steps-1/unet/config.json"));
    assert_eq!(config["in_channels"], 8);
    let index = json(&whole.join("models/steps-1/model_index.json"));
    let class = "StableDiffusionInstructPix2PixPipeline";
    assert_eq!(index["_class_name"], class);
    // A row for each of twelve examples: the source image, the edit, the image after it.
    let grid = image::read(&whole.join("samples/steps-1.png"), None, 3).expect("a grid");
    assert_eq!(
        (grid.shape.width, grid.shape.height),
        (9 * 17 + 1, 4 * 17 + 1)
    );

    // Another student or source image gives another image.
    let made = |steps: &str, more: &[&str]| {
        let more = [&CAT[..], &["--steps", steps], more].concat();
        edited(&workspace, "students", &more)
    };
    let one = |more: &[&str]| made("1", more);
    let plain = one(&["--w", "3"]);
    assert_ne!(plain, made("2", &["--w", "3"]));
    assert_eq!(plain, one(&["--w", "3", "--image-guidance-scale", "2.5"]));
    write_pattern(&workspace.path("before/0.png"), 77, [16, 16]);
    assert_ne!(plain, one(&["--w", "3"]));
    let words = ["instruct", "--model", "students", "--image", "before/0.png"];
    let refuse = |more: &[&str], parts: &[&str]| {
        let words = [&words[..], &CAT, more, &["--out", "x.png"]].concat();
        workspace.refuse(&words, parts);
    };
    refuse(
        &["--image-guidance-scale", "1.5"],
        &["--image-guidance-scale", "2.5", "1.5", "omit"],
    );
    refuse(&["--negative-prompt", "dogs"], &["--negative-prompt"]);
    let (info, _) = workspace.succeed(&["info", "students/models/steps-1"]);
    assert!(info.contains("image guidance scale 2.5 folded"), "{info}");
    assert!(info.contains("1 network call a step"), "{info}");
    // On another scale it is another run.
    let words = ["distill", &recipe, "--out", "students", "--resume"];
    let other = [&words[..], &["--set", "image_guidance=1.5"]].concat();
    workspace.refuse(&other, &["image_guidance"]);
}

/// What is encoded of source images is the mode, not scaled: as diffusers' pipeline has it.
#[test]
fn latents_of_source_images_are_not_scaled_and_mirrored_with_their_images() {
    let (workspace, recipe) = edits("");
    workspace.succeed(&["distill", &recipe, "--dry-run"]);
    let made = caches(&workspace);
    assert_eq!(made.len(), 1, "{made:?}");
    let (shape, concat) = tensors(&made[0])["concat"].clone();
    assert_eq!(shape, [10, 2, 1, 4, 8, 8]);
    let folder = golden("instruct");
    let scale = json(&folder.join("vae/config.json"))["scaling_factor"]
        .as_f64()
        .expect("a number");
    assert!((scale - 1.0).abs() > 0.1);
    let device = Device::flex();
    let vae = Pipeline::load(&folder, &device).expect("a model").vae;
    for (example, mirrored) in [(0, false), (3, true), (9, true)] {
        let file = workspace.path(&format!("before/{example}.png"));
        let image = image::read(&file, None, 3).expect("an image");
        let pixels: Vec<f32> = image.pixels.iter().copied().map(image::to_f32).collect();
        let pixels = Tensor::<4>::from_data(TensorData::new(pixels, [1, 3, 16, 16]), &device);
        let pixels = match mirrored {
            true => pixels.flip([3]),
            false => pixels,
        };
        let latents = (vae.encode(pixels) / scale).into_data();
        let expected = latents.try_to_vec::<f32>().expect("f32 data");
        let copy = 2 * example + usize::from(mirrored);
        for (a, b) in concat[256 * copy..][..256].iter().zip(&expected) {
            assert!((a - b).abs() < 1e-4 * (1.0 + b.abs()), "{a} for {b}");
        }
    }
    // Other images before the edit are other latents.
    write_pattern(&workspace.path("before/4.png"), 99, [16, 16]);
    workspace.succeed(&["distill", &recipe, "--dry-run"]);
    assert_eq!(caches(&workspace).len(), 2);
}

/// Stage one only, as a LoRA, with the usual scale; written for diffusers with a w of its own.
#[test]
fn a_lora_of_stage_one_is_written_for_diffusers() {
    let (workspace, recipe) = edits("lora = { rank = 2, alpha = 3.0 }\n");
    let words = ["distill", &recipe, "--out", "guided"];
    let text = std::fs::read_to_string(workspace.path("distill.toml")).expect("there");
    let (before, after) = (
        text.find("[progressive]").expect("there"),
        text.find("[run]").expect("there"),
    );
    let text = format!("{}{}", &text[..before], &text[after..]);
    std::fs::write(workspace.path("distill.toml"), text).expect("written");
    workspace.succeed(&words);
    let (info, _) = workspace.succeed(&["info", "guided/models/guided"]);
    assert!(info.contains("image guidance scale 1.5 folded"), "{info}");
    let student = edited(&workspace, "guided", &[&CAT[..], &["--w", "5"]].concat());
    let export = |more: &[&str]| {
        let words = ["export", "--model", "guided"];
        workspace.run(&[&words[..], more].concat())
    };
    let said = export(&["--form", "folder", "--out", "with-w"]);
    assert!(
        said.status.success() && stderr(&said).contains("--bake-w"),
        "{}",
        stderr(&said)
    );
    let said = export(&["--form", "folder", "--bake-w", "5", "--out", "baked"]);
    assert!(
        said.status.success() && !stderr(&said).contains("warning"),
        "{}",
        stderr(&said)
    );
    let config = json(&workspace.path("baked/unet/config.json"));
    assert!(config["time_cond_proj_dim"].is_null(), "{config}");
    let close = |a: &[u8], b: &[u8]| a.iter().zip(b).all(|(a, b)| a.abs_diff(*b) <= 1);
    assert!(close(&student, &edited(&workspace, "baked", &CAT)));
    let said = export(&["--for", "diffusers", "--out", "ready"]);
    assert!(said.status.success(), "{}", stderr(&said));
    let readme = std::fs::read_to_string(workspace.path("ready/README.md")).expect("there");
    assert!(
        readme.contains("image=PIL") && readme.contains("guidance_scale=1)"),
        "{readme}"
    );
    for tool in ["comfyui", "a1111", "sd-cpp"] {
        let words = [
            "export", "--model", "guided", "--for", tool, "--out", "other",
        ];
        workspace.refuse(&words, &["by instruction", "--form"]);
    }
}

#[test]
fn an_image_guidance_without_a_source_image_is_refused() {
    let (workspace, recipe) = edits("");
    let refuse = |set: &[&str], words: &[&str]| {
        let sets: Vec<&str> = set.iter().flat_map(|set| ["--set", set]).collect();
        let run = ["distill", &recipe, "--out", "students"];
        workspace.refuse(&[&run[..], &sets].concat(), words);
    };
    refuse(&["image_guidance=1e9"], &["image_guidance"]);
    let plain = format!("teacher={}", golden("sd1").display());
    refuse(
        &[&plain, "image_guidance=1.5"],
        &["image_guidance", "sees none", "remove it"],
    );
    refuse(
        &["condition={kind=\"depth\",path=\"before\"}"],
        &["by instruction", "kind = \"instruct\""],
    );
    std::fs::remove_file(workspace.path("before/7.png")).expect("removed");
    refuse(&[], &["7.png needs", "no image named `7`"]);
}

/// A student is compared with its teacher on edits of source images, at the scale that it has: here
/// the student is the teacher with another scale.
#[test]
fn fidelity_is_measured_on_edits() {
    let (workspace, recipe) = edits("image_guidance = 4.0\n");
    let text = std::fs::read_to_string(workspace.path("distill.toml")).expect("there");
    let start = text.find("w_embedding").expect("there");
    let (head, data) = (&text[..start], text.find("[data]").expect("there"));
    let end = text.find("[guided]").expect("there");
    let text = format!(
        "method = \"denoising\"\nupdates = 1\nlabel_dropout = 0.1\n{head}{}[optim]\nbatch = 4\nlr = 1e-12\n",
        &text[data..end]
    );
    std::fs::write(workspace.path("distill.toml"), text).expect("written");
    workspace.succeed(&["distill", &recipe, "--out", "student"]);
    let teacher = golden_path("instruct");
    let data = format!("captioned:{}", workspace.path("captioned").display());
    let words = |model: &'static str| ["eval", "--model", model, "--fidelity", &teacher];
    let mse = |more: &[&str]| {
        let given = [
            "--data", &data, "--split", "train", "--count", "6", "--w", "2",
        ];
        let steps = ["--teacher-steps", "3", "--json"];
        let words = [&words("student")[..], &given, &steps, more].concat();
        let (rows, _) = workspace.succeed(&words);
        let rows: serde_json::Value = serde_json::from_str(&rows).expect("JSON");
        rows[0]["mse"]["mean"].as_f64().expect("a number")
    };
    assert!(mse(&["--steps", "3"]) < 1e-6);
    assert!(mse(&["--steps", "1"]) > 1e-3);
    workspace.refuse(&words("student"), &["source images", "--data"]);
    // More than a third cannot be dropped three times.
    let set = ["--set", "label_dropout=0.4"];
    let words = ["distill", &recipe, "--out", "other"];
    workspace.refuse(&[&words[..], &set].concat(), &["label_dropout", "1/3"]);
}
