//! Pixel models in diffusers' folders that fewstep did not write, through the real program.

mod workspace;

use std::path::PathBuf;
use workspace::{Workspace, assert_same_run, weights, write_pattern};

const DISTILL: &str = r#"
seed = 4
teacher = "MODEL"
[data]
kind = "folder"
path = "IMAGES"
[progressive]
start_steps = 8
end_steps = 2
updates = 6
optim = { batch = 4, lr = 1e-3 }
[run]
log_every = 1
checkpoint_every = 2
"#;

fn model(name: &str) -> String {
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../formats/tests/golden/pixel");
    PathBuf::from(golden).join(name).display().to_string()
}

/// A workspace with images of this height and width in `classes` folders, or without classes.
fn workspace([height, width]: [usize; 2], classes: usize) -> Workspace {
    let workspace = Workspace::new();
    let folder = workspace.path("images");
    for image in 0..6 {
        let folder = match classes {
            0 => folder.clone(),
            _ => folder.join(format!("{}", image % classes)),
        };
        let place = folder.join(format!("{image}.png"));
        write_pattern(&place, image, [height, width]);
    }
    workspace
}

fn recipe(workspace: &Workspace, name: &str) -> String {
    let images = workspace.path("images").display().to_string();
    let text = DISTILL
        .replace("MODEL", &model(name))
        .replace("IMAGES", &images);
    workspace.recipe("distill.toml", &text)
}

#[test]
fn a_model_without_classes_is_distilled_killed_and_resumed() {
    let workspace = workspace([8, 8], 0);
    let recipe = recipe(&workspace, "ddpm");
    workspace.succeed(&["distill", &recipe, "--out", "students"]);
    let kills = workspace.run_with_kills(&["distill", &recipe, "--out", "killed"]);
    assert!(kills > 1, "the run ended before it could be killed");
    let (whole, killed) = (workspace.path("students"), workspace.path("killed"));
    assert_same_run(&whole, &killed, &["steps-4", "steps-2"]);
    assert_ne!(weights(&whole, "steps-4"), weights(&whole, "steps-2"));
    let text = std::fs::read_to_string(whole.join("models/steps-2/fewstep.json"));
    let student: serde_json::Value = serde_json::from_str(&text.expect("there")).expect("JSON");
    assert_eq!(student["prediction"], "v");
    assert_eq!(student["guidance"]["kind"], "none");
    assert_eq!(student["role"]["steps"], 2);
    workspace.succeed(&[
        "sample", "--model", "students", "--steps", "2", "--out", "two.png",
    ]);
    workspace.refuse(
        &[
            "sample", "--model", "students", "--w", "2", "--out", "two.png",
        ],
        &["guid"],
    );

    let refuse = |set: &str, words: &[&str]| {
        workspace.refuse(&["distill", &recipe, "--set", set, "--out", "none"], words);
    };
    refuse(
        "w=[0, 4]",
        &["`w` has no meaning", "no unconditional branch"],
    );
    refuse(
        "guided={updates=1,optim={batch=2,lr=1e-3}}",
        &["remove [guided]"],
    );
    refuse("data.size=4", &["[3, 8, 8]", "[3, 4, 4]"]);
}

#[test]
fn a_model_with_classes_is_distilled() {
    let workspace = workspace([8, 4], 3);
    let recipe = recipe(&workspace, "classes");
    workspace.succeed(&["distill", &recipe, "--out", "students"]);
    let [first, last] =
        [("0", "first"), ("2", "last")].map(|(class, out)| workspace.generate(class, out, &[]));
    assert_eq!((first.shape.height, first.shape.width), (8, 4));
    assert_ne!(first, last);
    let adapt = format!(
        "method = \"denoising\"\nlabel_dropout = 0.1\nupdates = 2\noptim = {{ batch = 2, lr = 1e-3 }}\nseed = 1\nteacher = \"{}\"\n[data]\nkind = \"folder\"\npath = \"{}\"\n[condition]\nkind = \"edges\"\n",
        model("classes"),
        workspace.path("images").display()
    );
    let adapt = workspace.recipe("adapt.toml", &adapt);
    workspace.refuse(
        &["distill", &adapt, "--out", "adapted"],
        &["label_dropout", "= 0"],
    );
}

#[test]
fn models_of_diffusers_are_sampled_and_described() {
    let workspace = Workspace::new();
    for (name, part) in [
        ("ddpm", "Classes"),
        ("classes", "3"),
        ("blocks", "ancestral"),
    ] {
        let model = model(name);
        let out = format!("{name}.png");
        let sample = ["sample", "--model", &model, "--steps", "3", "--out", &out];
        let (sampled, _) = workspace.succeed(&sample);
        assert!(workspace.path(&out).is_file());
        let (info, _) = workspace.succeed(&["info", &model]);
        assert!(
            info.contains(part) || sampled.contains(part),
            "{info}{sampled}"
        );
    }
    workspace.refuse(
        &[
            "sample",
            "--model",
            &model("ddpm"),
            "--w",
            "1",
            "--out",
            "guided.png",
        ],
        &["guid"],
    );
}

#[test]
fn a_model_without_classes_learns_from_images_whose_labels_are_left_out() {
    let (labelled, plain) = (workspace([8, 8], 1), workspace([8, 8], 0));
    let recipe_of = |workspace: &Workspace| recipe(workspace, "ddpm");
    let distill = ["distill", &recipe_of(&labelled), "--out", "students"];
    labelled.refuse(&distill, &["1 classes", "labels = false"]);
    let leave_out = ["--set", "data.labels=false"];
    labelled.succeed(&[&distill[..], &leave_out].concat());
    plain.succeed(&["distill", &recipe_of(&plain), "--out", "students"]);
    let students = [&labelled, &plain].map(|workspace| workspace.path("students"));
    assert_eq!(
        weights(&students[0], "steps-2"),
        weights(&students[1], "steps-2")
    );
    let again = [&distill[..3], &["again"], &leave_out].concat();
    for set in ["data.class_names=[\"a\"]", "data.kind=captioned"] {
        labelled.refuse(&[&again[..], &["--set", set]].concat(), &["labels"]);
    }
    let teacher = format!("teacher={}", model("classes"));
    let words = [&again[..], &["--set", &teacher]].concat();
    labelled.refuse(&words, &["classes"]);
}
