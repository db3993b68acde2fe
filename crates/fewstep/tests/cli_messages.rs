//! Messages: in plain words, short, and naming the command or the path that is meant.

mod tiny;
mod workspace;

use std::path::Path;
use tiny::{save, teacher};
use workspace::{TRAIN, Workspace, assert_refused, copy, golden, golden_path, refuse, stderr};

const DISTILL: &str = r#"
seed = 2
teacher = "TEACHER"
w = [0.0, 4.0]
[data]
kind = "idx"
path = "DATA"
[guided]
updates = 4
[guided.optim]
batch = 4
lr = 1e-3
"#;

/// Words that only a programmer in Rust or of serde knows.
const INTERNALS: [&str; 10] = [
    "untagged",
    "enum",
    "struct",
    "usize",
    "u64",
    "i128",
    "f64",
    "variant",
    "expected a sequence",
    "invalid type",
];

/// Refused with these parts in the message, and none of Rust.
fn refuse_plainly(workspace: &Workspace, words: &[&str], parts: &[&str]) {
    let output = workspace.run(words);
    assert_refused(&output, parts);
    let message = stderr(&output);
    for internal in INTERNALS {
        assert!(!message.contains(internal), "`{internal}` is in: {message}");
    }
}

#[test]
fn recipes_are_refused_in_plain_words() {
    let workspace = Workspace::new();
    let recipe = workspace.recipe("distill.toml", DISTILL);
    for (set, parts) in [
        (
            "w=abc",
            ["`w = \"abc\"`", "a number, or a range [min, max]"],
        ),
        ("w=[1]", ["`w = [1]`", "a number, or a range [min, max]"]),
        (
            "guided.updates=-5",
            ["`guided.updates = -5`", "a whole number of at least 0"],
        ),
        (
            "guided.updates=1.5",
            ["guided.updates", "got the number 1.5"],
        ),
        ("guided=5", ["`guided = 5`", "a section with keys"]),
        (
            "guided.optim.lr=fast",
            ["`guided.optim.lr = \"fast\"`", "expected a number"],
        ),
        (
            "guided.optim.ema={decay=\"a\"}",
            ["decay", "expected a number"],
        ),
        ("flip=1", ["`flip = 1`", "true or false"]),
        ("prompts=cat", ["prompts", "expected a list"]),
        ("teacher=1", ["`teacher = 1`", "a text in quotes"]),
        (
            "data.kind=zip",
            ["`data.kind = \"zip\"`", "expected \"fashion-mnist\", "],
        ),
        (
            "condition=foo",
            ["`condition = \"foo\"`", "a section with keys"],
        ),
        ("progressive.end_steps=1", ["progressive", "is missing"]),
        (
            "guided.updats=5",
            ["unknown key `updats`", "Did you mean `updates`?"],
        ),
        (
            "guided.updates=18446744073709551615",
            ["guided.updates", "the number is too large"],
        ),
        (
            "teacher=",
            ["the name of the model is empty", "give a folder"],
        ),
    ] {
        refuse_plainly(&workspace, &["distill", &recipe, "--set", set], &parts);
    }
    let parts = ["path = an empty text", "a folder or a file"];
    for set in ["", "folder:", "parquet:"] {
        refuse_plainly(&workspace, &["data", set], &parts);
    }
    for number in ["18446744073709551615", "99999999999999999999999"] {
        let large = DISTILL.replace("updates = 4", &format!("updates = {number}"));
        let recipe = workspace.recipe("large.toml", &large);
        refuse_plainly(&workspace, &["distill", &recipe], &["large.toml", "number"]);
    }
    let wrong = DISTILL.replace("updates = 4", "updates = \"four\"");
    let recipe = workspace.recipe("wrong.toml", &wrong);
    let parts = [
        "wrong.toml",
        "line 9",
        "a whole number",
        "the text \"four\"",
    ];
    refuse_plainly(&workspace, &["distill", &recipe], &parts);
}

#[test]
fn a_recipe_for_the_other_command_is_named() {
    let workspace = Workspace::new();
    let train = workspace.recipe("teach.toml", TRAIN);
    let distill = workspace.recipe("students.toml", DISTILL);
    let said = |command: &str, recipe: &str| {
        let part = format!("run `fewstep {command} {recipe}`");
        (recipe.to_string(), part)
    };
    let (recipe, part) = said("distill", &distill);
    workspace.refuse(&["train", &recipe], &[&part]);
    let (recipe, part) = said("train", &train);
    workspace.refuse(&["distill", &recipe], &[&part]);
    // A recipe that comes with the program may not be there as a file.
    workspace.refuse(
        &["train", "recipes/cifar10/small-teacher.toml"],
        &["`fewstep recipe cifar10/small-teacher --out FILE`"],
    );
    let one = DISTILL.replace("seed", "method = \"codi\"\nseed");
    let one = workspace.recipe("one.toml", &one);
    workspace.refuse(&["train", &one], &["fewstep distill"]);
    // Nor is a recipe a model.
    let as_teacher = format!("teacher={train}");
    for words in [
        &["sample", "--model", &train, "--out", "x.png"][..],
        &["export", "--model", &train, "--out", "x"],
        &["distill", &distill, "--set", &as_teacher],
    ] {
        workspace.refuse(words, &["is a recipe and no model", "fewstep info"]);
    }
}

/// Configurations of models are read from files of others: the field is named, in plain words.
#[test]
fn configurations_of_models_are_refused_in_plain_words() {
    let workspace = Workspace::new();
    for (file, from, to, parts) in [
        (
            "unet/config.json",
            "\"in_channels\": 4",
            "\"in_channels\": \"four\"",
            ["in_channels", "a whole number"],
        ),
        (
            "unet/config.json",
            "\"block_out_channels\": [",
            "\"block_out_channels\": 5, \"x\": [",
            ["block_out_channels", "a list"],
        ),
        (
            "unet/config.json",
            "\"attention_head_dim\":",
            "\"attention_head_dim\": {}, \"x\":",
            ["attention_head_dim", "one for each level"],
        ),
        (
            "scheduler/scheduler_config.json",
            "\"beta_start\":",
            "\"beta_start\": \"low\", \"x\":",
            ["beta_start", "a number"],
        ),
    ] {
        let model = workspace.path("model");
        let _ = std::fs::remove_dir_all(&model);
        copy(&golden("sd1"), &model);
        let file = model.join(file);
        let text = std::fs::read_to_string(&file).expect("there");
        assert!(text.contains(from), "{from} is not in {text}");
        std::fs::write(&file, text.replacen(from, to, 1)).expect("written");
        refuse_plainly(&workspace, &["info", "model"], &parts);
    }
}

#[test]
fn a_huge_input_is_not_repeated() {
    let workspace = Workspace::new();
    let huge = "x".repeat(60_000);
    let recipe = workspace.recipe("distill.toml", DISTILL);
    let set = format!("w={huge}");
    let kind = format!("data.kind={huge}");
    for words in [
        vec!["distill", &recipe, "--set", &set],
        vec!["distill", &recipe, "--set", &kind],
        vec!["distill", &recipe, "--set", &huge],
        vec![
            "sample",
            "--model",
            "builtin:fashion-mnist",
            "--seed",
            &huge,
        ],
        vec![
            "sample",
            "--model",
            "builtin:fashion-mnist",
            "--class",
            &huge,
        ],
        vec!["sample", "--model", &huge],
        vec![&huge],
    ] {
        let output = workspace.run(&words);
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{}", message.len());
        assert!(message.len() < 5000, "{} bytes", message.len());
    }
}

#[test]
fn a_path_is_not_looked_for_on_the_hub() {
    let workspace = Workspace::new();
    let folder = workspace.folder.path();
    save(&teacher(), folder, "runs/first/models/teacher");
    for (model, parts) in [
        (
            "runs/frist",
            ["no `frist` in runs", "Did you mean `first`?"],
        ),
        (
            "runs/first/models/taecher",
            ["no `taecher` in runs/first/models", "`teacher`?"],
        ),
        ("./run/first", ["no `run`", "Did you mean `runs`?"]),
        ("~/nowhere/model", ["no `nowhere`", "nowhere/model"]),
        ("/nowhere/model", ["no `nowhere` in /", "/nowhere/model"]),
        (
            "../nowhere-else/b",
            ["no `nowhere-else` in ..", "../nowhere-else/b"],
        ),
        ("a/b/c", ["no `a` in this folder", "a/b/c"]),
        (
            "owner/model.safetensors",
            ["no `owner`", "owner/model.safetensors"],
        ),
    ] {
        for command in [["sample", "--model", model], ["export", "--model", model]] {
            let words = match command[0] {
                "export" => [&command[..], &["--out", "out"]].concat(),
                _ => command.to_vec(),
            };
            workspace.refuse(&words, &parts);
        }
        workspace.refuse(&["info", model], &parts);
    }
    // What may be a name is looked for.
    let output = workspace::command(folder, &["sample", "--model", "owner/model"])
        .env("HF_HUB_OFFLINE", "1")
        .output()
        .expect("the program starts");
    assert_refused(&output, &["hub's cache"]);
}

#[test]
fn damaged_checkpoints_are_not_downloaded_again() {
    let workspace = Workspace::new();
    let recipe = workspace.recipe("train.toml", TRAIN);
    let train = ["train", &recipe, "--out", "run", "--set", "updates=8"];
    workspace.succeed(&train);
    std::fs::remove_dir_all(workspace.path("run/models")).expect("removed");
    let checkpoints = std::fs::read_dir(workspace.path("run/checkpoints")).expect("there");
    for checkpoint in checkpoints.flatten() {
        truncate(&checkpoint.path().join("raw.safetensors"));
    }
    let resumed = [&train[..4], &["--set", "updates=16", "--resume"]].concat();
    let output = workspace.run(&resumed);
    let message = stderr(&output);
    assert!(
        !output.status.success() && !message.contains("download"),
        "{message}"
    );
    assert!(message.contains("checkpoint"), "{message}");
}

fn truncate(file: &Path) {
    let bytes = std::fs::read(file).expect("there");
    std::fs::write(file, &bytes[..bytes.len() / 2]).expect("written");
}

/// Both are refused before the model is loaded, which would not work either.
#[test]
fn places_of_results_are_checked_first() {
    let workspace = Workspace::new();
    std::fs::create_dir_all(workspace.path("broken/unet")).expect("made");
    std::fs::write(workspace.path("a.png"), "no image").expect("written");
    let sample = ["sample", "--model", "broken", "--out", "a.gif"];
    workspace.refuse(&sample, &["a.gif", ".png"]);
    for command in ["upscale", "depth", "render", "instruct"] {
        let words = [
            command,
            "--model",
            "broken",
            "--image",
            "a.png",
            "--out",
            "a.png/b.png",
        ];
        workspace.refuse(&words, &["cannot write a.png/b.png"]);
    }
    let sample = ["sample", "--model", "broken", "--out", "new/"];
    workspace.refuse(&sample, &["cannot write new/, which is a folder"]);
    let distill = workspace.recipe("distill.toml", DISTILL);
    std::fs::create_dir_all(workspace.path("taken")).expect("made");
    std::fs::write(workspace.path("taken/recipe.toml"), DISTILL).expect("written");
    let words = [
        "distill",
        &distill,
        "--out",
        "taken",
        "--set",
        "teacher=nowhere",
    ];
    workspace.refuse(&words, &["already holds a run"]);
    let train = workspace.recipe("train.toml", TRAIN);
    let words = [
        "train",
        &train,
        "--out",
        "taken",
        "--set",
        "data.path=nowhere",
    ];
    workspace.refuse(&words, &["already holds a run"]);
    refuse(
        workspace.folder.path(),
        &[
            "inpaint",
            "--model",
            &golden_path("inpaint"),
            "--image",
            "a.png",
            "--mask",
            "a.png",
            "--prompt",
            "x",
            "--out",
            "a.tiff",
        ],
        &["a.tiff"],
    );
}

/// A method that there is not is named with those that there are, by every command that reads it.
#[test]
fn a_wrong_method_is_named() {
    let workspace = Workspace::new();
    for (key, said) in [
        ("method = 7", "`method = 7`"),
        ("method = \"codii\"", "Did you mean \"codi\"?"),
        (
            "method = \"progressive\"",
            "or no `method` for guided distillation",
        ),
        ("methd = \"codi\"", "Did you mean `method`?"),
    ] {
        let recipe = workspace.recipe("wrong.toml", &format!("{key}\n{DISTILL}"));
        for command in ["distill", "info", "plan"] {
            refuse_plainly(&workspace, &[command, &recipe], &["wrong.toml", said]);
        }
    }
}
