//! Conditional and consistency distillation, and the commands that generate from control images,
//! through the binary.

mod adapting;
mod commands;
mod controlnet;
mod methods;
mod pairs;
#[path = "../tiny/mod.rs"]
mod tiny;
#[path = "../workspace/mod.rs"]
mod workspace;

use std::path::Path;
use tiny::{read_image, write_image};
use workspace::{TRAIN, Workspace, assert_same_run, controlnet, weights};

const CODI: &str = r#"
method = "codi"
seed = 4
teacher = "TEACHER"
updates = 16
train = "full"
flip = true
[data]
kind = "idx"
path = "DATA"
[condition]
kind = "bicubic"
factor = 2
[codi]
intervals = 8
[optim]
batch = 8
micro_batch = 4
lr = 1e-3
ema = { decay = 0.99 }
[run]
log_every = 2
checkpoint_every = 4
"#;

/// A workspace with a tiny trained teacher.
fn taught() -> Workspace {
    let workspace = Workspace::new();
    let train = workspace.recipe("train.toml", TRAIN);
    let few = ["--set", "updates=4", "--set", "optim.warmup=0"];
    workspace.succeed(&[&["train", &train, "--out", "teacher"], &few[..]].concat());
    workspace
}

/// Runs a recipe of the workspace under another name and with other settings.
fn distil(workspace: &Workspace, out: &str, settings: &[&str]) {
    let recipe = workspace.recipe("codi.toml", CODI);
    let mut words = vec!["distill", &recipe, "--out", out];
    settings
        .iter()
        .for_each(|setting| words.extend(["--set", setting]));
    workspace.succeed(&words);
}
