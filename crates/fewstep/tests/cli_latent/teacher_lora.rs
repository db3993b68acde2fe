//! Teachers with LoRA of other tools.

use super::*;

const UNET: &str = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_v";
const TEXT: &str = "lora_te_text_model_encoder_layers_0_mlp_fc1";

/// A LoRA of rank 1 for layers with these outputs and inputs.
fn write_lora(file: &Path, layers: &[(&str, [usize; 2])]) {
    let values = |number: usize| -> Vec<u8> {
        let values = (0..number).map(|n| (n as f32).cos());
        values.flat_map(f32::to_le_bytes).collect()
    };
    let parts = layers.iter().flat_map(|(layer, [outputs, inputs])| {
        let name = |part: &str| format!("{layer}.lora_{part}.weight");
        [
            (name("down"), vec![1, *inputs]),
            (name("up"), vec![*outputs, 1]),
        ]
    });
    let parts: Vec<_> = parts
        .map(|(name, shape)| (name, shape.clone(), values(shape.iter().product())))
        .collect();
    let views = parts.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes);
        (name, view.expect("a view"))
    });
    safetensors::serialize_to_file(views, None, file).expect("written");
}

/// Outputs and inputs of a layer of the tiny Stable Diffusion.
fn shape(part: &str, layer: &str) -> [usize; 2] {
    let bytes = std::fs::read(golden("sd1").join(part)).expect("there");
    let file = safetensors::SafeTensors::deserialize(&bytes).expect("whole");
    let mut names = file.names().into_iter();
    let name = names.find(|name| name.ends_with(&format!("{layer}.weight")));
    let shape = file.tensor(name.expect("a layer")).expect("there");
    [shape.shape()[0], shape.shape()[1]]
}

fn unet() -> (&'static str, [usize; 2]) {
    let file = "unet/diffusion_pytorch_model.fp16.safetensors";
    let layer = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_v";
    (UNET, shape(file, layer))
}

fn text() -> (&'static str, [usize; 2]) {
    let files = ["model.fp16.safetensors", "model.safetensors"];
    let files = files.map(|file| format!("text_encoder/{file}"));
    let file = files.iter().find(|file| golden("sd1").join(file).is_file());
    (
        TEXT,
        shape(file.expect("weights"), "encoder.layers.0.mlp.fc1"),
    )
}

/// A recipe whose student stays what it starts as.
fn still(workspace: &Workspace, name: &str, loras: &str) -> String {
    let text = DISTILL.replace("[data]", &format!("teacher_lora = [{loras}]\n[data]"));
    let (text, _) = text.split_once("[progressive]").expect("stage two");
    let text = text
        .replace("updates = 6", "updates = 1")
        .replace("lr = 1e-3", "lr = 1e-12");
    recipe(workspace, name, &text, "sd1")
}

#[test]
fn a_student_starts_from_its_teacher_with_the_lora() {
    let workspace = workspace();
    let ink = workspace.path("ink.safetensors");
    write_lora(&ink, &[unet(), text()]);
    let first = still(
        &workspace,
        "first.toml",
        r#"{ path = "ink.safetensors", weight = 20 }"#,
    );
    workspace.succeed(&["distill", &first, "--out", "students"]);

    let sample = |model: &str, words: &[&str]| {
        let same = ["--prompt", "a cat", "--steps", "2", "--sampler", "ddim"];
        let sample = ["sample", "--model", model, "--out", "x.png"];
        workspace.succeed(&[&sample[..], &same, words].concat());
        let image = image::read(&workspace.path("x.png"), None, 3);
        image.expect("an image").pixels
    };
    let teacher = golden_path("sd1");
    let student = sample("students", &["--w", "2"]);
    let with = sample(&teacher, &["--lora", "ink.safetensors:20", "--w", "0"]);
    let near = |(a, b): (&u8, &u8)| a.abs_diff(*b) <= 1;
    assert!(student.iter().zip(&with).all(near));
    assert!(
        !student
            .iter()
            .zip(&sample(&teacher, &["--w", "0"]))
            .all(near)
    );
    // The folder of the student has both, for any reader.
    let encoder = "students/models/guided/text_encoder";
    let written = tensors(&workspace.path(encoder).join("model.safetensors"));
    assert!(written.contains_key("text_model.encoder.layers.0.mlp.fc1.weight"));
    let said = workspace.succeed(&["info", "students/models/guided"]).0;
    assert!(said.contains("ink:20"), "{said}");
    let said = workspace.succeed(&["info", "students"]).0;
    assert!(said.contains("+ LoRA ink:20"), "{said}");
    let said = workspace.succeed(&["info", &first]).0;
    assert!(said.contains("+ LoRA ink:20"), "{said}");
}

#[test]
fn an_exported_lora_says_that_it_goes_on_top_of_others() {
    let workspace = workspace();
    write_lora(&workspace.path("ink.safetensors"), &[unet()]);
    let recipe = still(&workspace, "r.toml", r#"{ path = "ink.safetensors" }"#);
    let rank = ["--set", "lora.rank=1", "--set", "lora.alpha=1"];
    workspace.succeed(&[&["distill", &recipe, "--out", "students"], &rank[..]].concat());
    let export = ["export", "--model", "students", "--form", "lora"];
    let (_, said) = workspace.succeed(&[&export[..], &["--out", "lora"]].concat());
    assert!(said.contains("ink:1"), "{said}");
}

#[test]
fn a_run_resumes_on_the_lora_that_it_was_started_on() {
    let workspace = workspace();
    write_lora(&workspace.path("ink.safetensors"), &[unet()]);
    write_lora(&workspace.path("words.safetensors"), &[text()]);
    std::fs::copy(
        workspace.path("ink.safetensors"),
        workspace.path("moved.safetensors"),
    )
    .expect("copied");
    let both = r#"{ path = "ink.safetensors" }, { path = "words.safetensors" }"#;
    let resume = |loras: &str| {
        let recipe = still(&workspace, "again.toml", loras);
        workspace.run(&["distill", &recipe, "--out", "students", "--resume"])
    };
    let first = still(&workspace, "first.toml", both);
    workspace.succeed(&["distill", &first, "--out", "students"]);
    let moved = resume(&both.replace("ink", "moved"));
    assert!(moved.status.success(), "{}", stderr(&moved));
    for (loras, part) in [
        (r#"{ path = "words.safetensors" }"#, "teacher"),
        (
            &both.replace("ink.safetensors\"", "ink.safetensors\", weight = 0.9"),
            "teacher",
        ),
        (r#"{ path = "ink.safetensors" }"#, "data has changed"),
    ] {
        workspace::assert_refused(&resume(loras), &["students", part]);
    }
}

#[test]
fn a_lora_that_a_teacher_cannot_have_is_refused() {
    let workspace = workspace();
    write_lora(&workspace.path("other.safetensors"), &[("unet.no", [4, 4])]);
    for (loras, part) in [
        (r#"{ path = "none.safetensors" }"#, "none.safetensors"),
        (r#"{ path = "other.safetensors" }"#, "another model"),
        (
            r#"{ path = "other.safetensors", weight = nan }"#,
            "teacher_lora",
        ),
        (r#"{ path = "other.safetensors", times = 2 }"#, "times"),
    ] {
        let recipe = still(&workspace, "wrong.toml", loras);
        workspace.refuse(&["distill", &recipe, "--out", "students"], &[part]);
        assert!(!workspace.path("students").exists());
    }
}
