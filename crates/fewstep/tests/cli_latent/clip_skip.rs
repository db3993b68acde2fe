//! Layers of the text encoder that are skipped.

use super::*;

/// The pixels of an image of a model.
fn sample(workspace: &Workspace, model: &str, words: &[&str]) -> Vec<u8> {
    let same = ["--prompt", "a cat", "--steps", "2", "--sampler", "ddim"];
    let sample = ["sample", "--model", model, "--out", "x.png"];
    workspace.succeed(&[&sample[..], &same, words].concat());
    let image = image::read(&workspace.path("x.png"), None, 3);
    image.expect("an image").pixels
}

#[test]
fn images_change_with_the_layers_that_are_skipped() {
    let workspace = workspace();
    for model in ["sd1", "sdxl"] {
        let model = golden_path(model);
        let skipping = |layers: &str| sample(&workspace, &model, &["--clip-skip", layers]);
        let plain = sample(&workspace, &model, &[]);
        assert_eq!(skipping("0"), plain);
        assert_ne!(skipping("1"), plain);
    }
    for (layers, said) in [("0", ""), ("1", ", Clip skip: 2,")] {
        let model = golden_path("sd1");
        let words = [
            "sample", "--model", &model, "--prompt", "a cat", "--out", "x.png",
        ];
        let (summary, _) = workspace.succeed(&[&words[..], &["--clip-skip", layers]].concat());
        let told = summary.contains(", 1 CLIP layer skipped,");
        assert_eq!(told, layers == "1", "{summary}");
        let bytes = std::fs::read(workspace.path("x.png")).expect("there");
        let text = image::parameters(&bytes).unwrap_or_default();
        assert!(text.contains(said), "{text}");
        assert_eq!(text.contains("Clip skip"), layers == "1", "{text}");
    }
}

#[test]
fn every_command_that_reads_texts_skips_layers() {
    let workspace = workspace();
    let model = golden_path("sd1");
    write_pattern(&workspace.path("cat.png"), 1, [16, 16]);
    for command in [
        &["edit", "--image", "cat.png", "--prompt", "a dog", "--model"][..],
        &[
            "restyle",
            "--image",
            "cat.png",
            "--from",
            "a cat",
            "--to",
            "a dog",
            "--teacher-steps",
            "2",
            "--teacher",
        ],
    ] {
        let made = |words: &[&str]| {
            workspace.succeed(&[command, &[&*model, "--out", "x.png"], words].concat());
            std::fs::read(workspace.path("x.png")).expect("there")
        };
        let plain = made(&[]);
        assert_eq!(made(&["--clip-skip", "0"]), plain, "{command:?}");
        assert_ne!(made(&["--clip-skip", "1"]), plain, "{command:?}");
    }
}

/// The student says it, so that nothing needs to be set.
#[test]
fn a_student_skips_what_its_teacher_skipped() {
    let workspace = workspace();
    let (text, _) = DISTILL.split_once("[progressive]").expect("stage two");
    let text = text.replace("updates = 6", "updates = 1");
    let skipping = text.replace("[data]", "clip_skip = 1\n[data]");
    let plain = recipe(&workspace, "plain.toml", &text, "sd1");
    let skipping = recipe(&workspace, "skipping.toml", &skipping, "sd1");
    workspace.succeed(&["distill", &plain, "--out", "plain"]);
    workspace.succeed(&["distill", &skipping, "--out", "students"]);
    // The captions were encoded twice.
    assert_eq!(caches(&workspace).len(), 2);
    let folder = "students/models/guided";
    let said = workspace.succeed(&["info", folder]).0;
    assert!(said.contains("1 (CLIP skip 2 of web interfaces)"), "{said}");
    let student = sample(&workspace, folder, &["--w", "3"]);
    let skipping_one = sample(&workspace, folder, &["--w", "3", "--clip-skip", "1"]);
    assert_eq!(student, skipping_one);
    let none = sample(&workspace, folder, &["--w", "3", "--clip-skip", "0"]);
    assert_ne!(student, none);
    // So does a student of the student.
    let (_, halving) = DISTILL.split_once("[progressive]").expect("stage two");
    let (first, _) = DISTILL.split_once("[guided]").expect("stage one");
    let halving = format!(
        "{first}[progressive]{}",
        halving.replace("= 4\nend", "= 2\nend")
    );
    let halving = halving.replace("MODEL", "students/models/guided");
    let halving = recipe(&workspace, "halving.toml", &halving, "sd1");
    workspace.succeed(&["distill", &halving, "--out", "again"]);
    let said = workspace.succeed(&["info", "again/models/steps-1"]).0;
    assert!(said.contains("CLIP skip 2"), "{said}");
    let resume = ["--resume", "--set", "clip_skip=0"];
    let again = [&["distill", &*skipping, "--out", "students"], &resume[..]].concat();
    workspace.refuse(&again, &["clip_skip"]);
}

#[test]
fn more_layers_than_there_are_are_refused() {
    let workspace = workspace();
    let model = golden_path("sd1");
    let sample = |model: &str, layers: &str, said: &str| {
        let words = ["sample", "--model", model, "--clip-skip", layers];
        workspace.refuse(
            &[&words[..], &["--prompt", "a", "--out", "x.png"]].concat(),
            &[said],
        );
    };
    sample(&model, "3", "error: `clip_skip` is 3, and at most 2 layers");
    sample(&golden_path("sdxl"), "2", "at most 1");
    sample(&golden_path("bert"), "1", "no CLIP");
    sample(&model, "-1", "--clip-skip");
    let pixels = ["sample", "--model", "builtin:fashion-mnist", "--clip-skip"];
    workspace.refuse(
        &[&pixels[..], &["1", "--out", "x.png"]].concat(),
        &["no CLIP"],
    );
    for layers in ["3", "-1", "\"two\""] {
        let text = DISTILL.replace("[data]", &format!("clip_skip = {layers}\n[data]"));
        let recipe = recipe(&workspace, "wrong.toml", &text, "sd1");
        workspace.refuse(&["distill", &recipe, "--out", "students"], &["clip_skip"]);
        assert!(!workspace.path("students").exists());
    }
}

/// What other tools must be told stands in the files of `--for`.
#[test]
fn other_tools_are_told() {
    let workspace = workspace();
    let model = workspace.path("model");
    let (text, _) = DISTILL.split_once("[progressive]").expect("stage two");
    let text = text.replace("updates = 6", "updates = 1");
    let recipe = recipe(
        &workspace,
        "r.toml",
        &format!("clip_skip = 1\n{text}"),
        "sd1",
    );
    workspace.succeed(&["distill", &recipe, "--out", &model.display().to_string()]);
    for (tool, said) in [
        ("comfyui", "CLIPSetLastLayer with -2"),
        ("a1111", ", Clip skip: 2"),
        ("diffusers", ", clip_skip=1)"),
        ("sd-cpp", " --clip-skip 2"),
    ] {
        let export = ["export", "--model", "model", "--for", tool, "--out", tool];
        workspace.succeed(&export);
        let readme = std::fs::read_to_string(workspace.path(tool).join("README.md"));
        let readme = readme.expect("there");
        assert!(readme.contains(said), "{readme}");
    }
    let workflow = json(&workspace.path("comfyui/workflow_api.json"));
    assert_eq!(workflow["clip"]["inputs"]["stop_at_clip_layer"], -2);
    for prompt in ["prompt", "negative"] {
        assert_eq!(workflow[prompt]["inputs"]["clip"][0], "clip");
    }
}
