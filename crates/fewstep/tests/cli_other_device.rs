//! A whole small distillation on another device against the CPU, through the real program.
//!
//! `FEWSTEP_TEST_DEVICE=vulkan cargo test --release --features fewstep/wgpu --test cli_other_device -- --ignored`

mod workspace;

use fewstep_data::image;
use std::path::Path;
use workspace::{TRAIN, Workspace, copy};

const DISTILL: &str = r#"
seed = 4
teacher = "TEACHER"
w = [0.0, 2.0]
[data]
kind = "idx"
path = "DATA"
[guided]
updates = 6
optim = { batch = 8, lr = 1e-3, ema = { decay = 0.9 } }
[progressive]
start_steps = 4
end_steps = 2
updates = 6
optim = { batch = 8, lr = 1e-3 }
[run]
log_every = 1
checkpoint_every = 3
keep = 100
"#;

/// How far losses may be apart, relative to the CPU's: sums in another order, over 12 updates.
const TOLERANCE: f64 = 1e-4;

/// How far a pixel of a few updates' model may be off, of 255.
const PIXEL: u8 = 1;

fn device() -> String {
    std::env::var("FEWSTEP_TEST_DEVICE").expect("FEWSTEP_TEST_DEVICE names the device")
}

/// The losses of a run, by phase and update.
fn losses(run: &Path) -> Vec<f64> {
    let log = workspace::log(run);
    let values = log.iter().map(|line| {
        let value: serde_json::Value = serde_json::from_str(line).expect("JSON");
        value["loss"].as_f64()
    });
    values.flatten().collect()
}

fn assert_equal_losses(cpu: &[f64], other: &[f64]) {
    assert_eq!(cpu.len(), other.len());
    assert!(!cpu.is_empty());
    for (update, (a, b)) in cpu.iter().zip(other).enumerate() {
        let apart = (a - b).abs() / a.abs();
        assert!(apart < TOLERANCE, "update {update}: {a} and {b}");
    }
}

/// The samples of a run's students, made on this device.
fn samples(workspace: &Workspace, run: &str, device: &str) -> Vec<u8> {
    let out = format!("{run}-{device}");
    let words = [
        "sample", "--model", run, "--steps", "2", "--count", "4", "--w", "1", "--seed", "5",
    ];
    workspace.succeed(&[&words[..], &["--device", device, "--out-dir", &out]].concat());
    let files = (0..4).map(|n| workspace.path(&out).join(format!("00000{n}.png")));
    let images = files.map(|file| image::read(&file, None, 3).expect("an image"));
    images.flat_map(|image| image.pixels).collect()
}

/// What a device cannot do is refused by its name.
#[test]
#[ignore = "runs on the device that FEWSTEP_TEST_DEVICE names"]
fn bf16_is_refused_where_it_would_be_wrong() {
    let (device, workspace) = (device(), Workspace::new());
    if !device.starts_with("vulkan") {
        return;
    }
    let train = workspace.recipe("train.toml", TRAIN);
    workspace.succeed(&["train", &train, "--set", "updates=1", "--out", "teacher"]);
    let distill = workspace.recipe("distill.toml", DISTILL);
    for set in ["teacher_precision=bf16", "run.precision=bf16"] {
        let words = ["distill", &distill, "--device", &device, "--set", set];
        workspace.refuse(&words, &["bf16", "CUDA"]);
    }
}

#[test]
#[ignore = "runs on the device that FEWSTEP_TEST_DEVICE names"]
fn a_distillation_is_the_cpus_and_goes_on_on_another_device() {
    let (device, workspace) = (device(), Workspace::new());
    let train = workspace.recipe("train.toml", TRAIN);
    let few = ["--set", "updates=6", "--set", "network.dropout=0"];
    for (device, out) in [("cpu", "teacher"), (device.as_str(), "teacher-there")] {
        let words = ["train", &train, "--device", device, "--out", out];
        workspace.succeed(&[&words[..], &few].concat());
    }
    let [cpu, there] = ["teacher", "teacher-there"].map(|run| losses(&workspace.path(run)));
    assert_equal_losses(&cpu, &there);

    let distill = workspace.recipe("distill.toml", DISTILL);
    let run = |device: &str, out: &str, more: &[&str]| {
        let words = ["distill", &distill, "--device", device, "--out", out];
        workspace.succeed(&[&words[..], more].concat());
        losses(&workspace.path(out))
    };
    let cpu = run("cpu", "students", &[]);
    assert_equal_losses(&cpu, &run(&device, "there", &[]));

    // From the middle of the second phase of the CPU's run, as if that had been killed.
    let moved = workspace.path("moved");
    copy(&workspace.path("students"), &moved);
    std::fs::remove_dir_all(moved.join("models/steps-2")).expect("removed");
    let entries = std::fs::read_dir(moved.join("checkpoints")).expect("listed");
    let mut checkpoints: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    checkpoints.sort();
    let last = checkpoints.pop().expect("a checkpoint");
    std::fs::remove_dir_all(last).expect("removed");
    assert_equal_losses(&cpu, &run(&device, "moved", &["--resume"]));

    let [cpu, sampled, trained, moved] = [
        ("students", "cpu"),
        ("students", &device),
        ("there", "cpu"),
        ("moved", &device),
    ]
    .map(|(run, device)| samples(&workspace, run, device));
    for (what, other) in [("sampled", sampled), ("trained", trained), ("moved", moved)] {
        let apart = cpu.iter().zip(&other).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(apart <= Some(PIXEL), "{what} there: {apart:?} of 255 apart");
    }
}
