//! Latent models of classes.

use super::*;

/// The classes of the model, in the order of its rows.
const CLASSES: [&str; 4] = ["tench", "goldfish", "shark", "ray"];

/// Classes in folders, whose order by name is not that of the model's rows.
fn labelled(workspace: &Workspace) -> String {
    let folder = workspace.path("labelled");
    for image in 0..8 {
        let class = folder.join(CLASSES[image % 4]);
        write_pattern(&class.join(format!("{image}.png")), image, [16, 16]);
    }
    let text = DISTILL
        .replace("kind = \"captioned\"", "kind = \"folder\"")
        .replace("CAPTIONED", &folder.display().to_string())
        .replace("prompts = [\"a cat\"]\n", "");
    recipe(workspace, "distill.toml", &text, "classes")
}

#[test]
fn a_model_of_classes_is_distilled_killed_and_resumed() {
    let workspace = Workspace::new();
    let recipe = labelled(&workspace);
    workspace.succeed(&["distill", &recipe, "--out", "students"]);
    let kills = workspace.run_with_kills(&["distill", &recipe, "--out", "killed"]);
    assert!(kills > 1, "the run ended before it could be killed");
    let (whole, killed) = (workspace.path("students"), workspace.path("killed"));
    assert_same_run(&whole, &killed, &["guided", "steps-2", "steps-1"]);
    assert!(whole.join("samples/steps-1.png").is_file());

    // Every example has the row of its class, and the last row stands for no class.
    let cache = tensors(&caches(&workspace).remove(0));
    let table = tensors(&golden("classes").join("class_embedder/model.safetensors"));
    let (shape, rows) = &table["embedding.weight"];
    let (kept, states) = &cache["states"];
    assert_eq!((shape, kept), (&vec![5, 6], &vec![5, 1, 6]));
    assert_eq!(states[..6], rows[4 * 6..]);
    assert_eq!(cache["captions"].0, [8]);
    // The folders come by name, each with the row that the model has for this name.
    for (place, class) in ["goldfish", "ray", "shark", "tench"].iter().enumerate() {
        let row = CLASSES.iter().position(|name| name == class).expect("one");
        assert_eq!(
            states[6 * (place + 1)..][..6],
            rows[6 * row..][..6],
            "{class}"
        );
    }

    let generate = |class: &str, out: &str| workspace.generate(class, out, &["--w", "3"]);
    assert_eq!(generate("shark", "shark"), generate("2", "second"));
    assert_ne!(generate("shark", "shark"), generate("ray", "ray"));
    let teacher = golden_path("classes");
    let sample = ["sample", "--model", &teacher, "--steps", "1"];
    workspace.succeed(&[&sample[..], &["--out", "all.png"]].concat());
    workspace.refuse(
        &[&sample[..], &["--prompt", "a"]].concat(),
        &["--prompt", "--class"],
    );
    workspace.refuse(
        &[&sample[..], &["--class", "cat"]].concat(),
        &["cat", "tench"],
    );
    workspace.refuse(
        &[
            "edit", "--model", &teacher, "--image", "x.png", "--prompt", "a",
        ],
        &["generates classes", "prompts"],
    );
}

#[test]
fn data_that_does_not_go_with_classes_is_refused() {
    let workspace = Workspace::new();
    let recipe = labelled(&workspace);
    let refuse = |set: &[&str], words: &[&str]| {
        let sets: Vec<&str> = set.iter().flat_map(|set| ["--set", set]).collect();
        let run = ["distill", &recipe, "--out", "students"];
        workspace.refuse(&[&run[..], &sets].concat(), words);
    };
    refuse(
        &["data.kind=captioned"],
        &["generates classes", "data.kind"],
    );
    refuse(&["data.size=17"], &["multiples of 2", "17x17"]);
    let folder = |name: &str| workspace.path("labelled").join(name);
    std::fs::rename(folder("ray"), folder("cod")).expect("renamed");
    refuse(&[], &["no class `cod`", "class_names"]);
    std::fs::remove_dir_all(folder("cod")).expect("removed");
    refuse(&[], &["no class `ray`", "3 classes", "the model has 4"]);
}
