//! Textual inversions in prompts, and folders that add tokens.

use super::*;

fn embedding(file: &str) -> String {
    golden("text").join(file).display().to_string()
}

fn sample(workspace: &Workspace, model: &str, prompt: &str, words: &[&str]) -> (Vec<u8>, String) {
    let same = ["--prompt", prompt, "--steps", "2", "--seed", "3"];
    let sample = ["sample", "--model", model, "--out", "x.png"];
    let said = workspace.succeed(&[&sample[..], &same, words].concat()).0;
    let image = image::read(&workspace.path("x.png"), None, 3);
    (image.expect("an image").pixels, said)
}

#[test]
fn prompts_name_textual_inversions() {
    let workspace = workspace();
    for (model, file, token) in [
        ("sd1", "style-x.pt", "style-x"),
        ("sd1", "learned_embeds.safetensors", "<cat-toy>"),
        ("sdxl", "both.safetensors", "both"),
    ] {
        let (model, file) = (golden_path(model), embedding(file));
        let prompt = format!("a photograph of {token}");
        let flags = ["--embedding", &*file, "--w", "20"];
        let (with, said) = sample(&workspace, &model, &prompt, &flags);
        assert!(said.contains(&format!("embedding `{token}`")), "{said}");
        assert_ne!(with, sample(&workspace, &model, &prompt, &flags[2..]).0);
        // Other prompts stay as they are.
        let (other, _) = sample(&workspace, &model, "a dog", &flags);
        assert_eq!(other, sample(&workspace, &model, "a dog", &flags[2..]).0);
        // Under another name.
        let flags = ["--embedding", &*format!("{file}:my word"), "--w", "20"];
        let prompt = "a photograph of my word";
        assert_eq!(sample(&workspace, &model, prompt, &flags).0, with);
        if file.ends_with("safetensors") {
            let (said, _) = workspace.succeed(&["info", &file]);
            for part in ["a textual inversion", "--embedding"] {
                assert!(said.contains(part), "{said}");
            }
            let words = ["sample", "--model", &file, "--out", "x.png"];
            workspace.refuse(&words, &["only a textual inversion"]);
        }
    }
}

#[test]
fn shards_with_other_embeddings_do_not_merge() {
    let workspace = workspace();
    let model = golden_path("sd1");
    let file = embedding("style-x.pt");
    let sample = [
        "sample", "--model", &*model, "--prompt", "style-x", "--steps", "1",
    ];
    for (shard, more) in [("0/2", &["--embedding", &*file][..]), ("1/2", &[])] {
        let shard = ["--count", "2", "--shard", shard, "--out", "shards"];
        workspace.succeed(&[&sample[..], &shard, more].concat());
    }
    workspace.refuse(&["merge", "shards"], &["embeddings"]);
}

#[test]
fn embeddings_that_cannot_be_used_are_refused() {
    let workspace = workspace();
    std::fs::write(workspace.path("wrong.pt"), "hello").expect("written");
    let sd1 = golden_path("sd1");
    for (model, file, said) in [
        (
            &*sd1,
            embedding("both.safetensors"),
            "another kind of model",
        ),
        (&*sd1, "wrong.pt".into(), "wrong.pt"),
        (&*sd1, "none.pt:x".into(), "none.pt"),
        (&*sd1, format!("{}:", embedding("style-x.pt")), "FILE:TOKEN"),
        (
            "builtin:fashion-mnist",
            embedding("style-x.pt"),
            "token of prompts",
        ),
    ] {
        let sample = ["sample", "--model", model, "--embedding", &*file];
        workspace.refuse(&[&sample[..], &["--out", "x.png"]].concat(), &[said]);
        assert!(!workspace.path("x.png").exists());
    }
}

/// DreamBooth and textual inversion save tokens in the folder; students keep them.
#[test]
fn a_folder_with_more_tokens_is_sampled_and_distilled() {
    let workspace = workspace();
    let model = workspace.path("added");
    workspace::copy(&golden("sd1"), &model);
    for part in ["tokenizer", "text_encoder"] {
        std::fs::remove_dir_all(model.join(part)).expect("removed");
        workspace::copy(&golden("text").join("added").join(part), &model.join(part));
    }
    let (own, _) = sample(&workspace, "added", "a style-x", &["--w", "20"]);
    let flags = ["--embedding", &*embedding("style-x.pt"), "--w", "20"];
    let (inverted, _) = sample(&workspace, &golden_path("sd1"), "a style-x", &flags);
    assert_eq!(own, inverted);
    let (plain, _) = sample(&workspace, &golden_path("sd1"), "a style-x", &["--w", "20"]);
    assert_ne!(own, plain);
    let (text, _) = DISTILL.split_once("[progressive]").expect("stage two");
    let text = text.replace("updates = 6", "updates = 1");
    let recipe = recipe(&workspace, "r.toml", &text, "sd1");
    let set = ["--set", "teacher=added", "--out", "students"];
    workspace.succeed(&[&["distill", &*recipe], &set[..]].concat());
    // Readers of single files have a tokenizer of their own.
    let export = [
        "export",
        "--model",
        "added",
        "--form",
        "single-file",
        "--out",
    ];
    let (_, said) = workspace.succeed(&[&export[..], &["one.safetensors"]].concat());
    assert!(said.contains("tokens that this model adds"), "{said}");
    let bytes = std::fs::read(workspace.path("one.safetensors")).expect("there");
    let single = safetensors::SafeTensors::deserialize(&bytes).expect("whole");
    let name = "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight";
    assert_eq!(single.tensor(name).expect("there").shape(), [587, 12]);
    let student = |prompt: &str| sample(&workspace, "students", prompt, &["--w", "2"]).0;
    assert_ne!(student("a style-x"), student("a style"));
}
