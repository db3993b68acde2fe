//! `train` and `distill` through the real binary: killed, resumed, and refused.

mod workspace;

use std::process::Command;
use workspace::{TRAIN, Workspace, assert_same_run, log, stderr, write, write_idx};

const DISTILL: &str = r#"
seed = 4
teacher = "TEACHER"
w = [0.0, 2.0]
[data]
kind = "idx"
path = "DATA"
[guided]
updates = 12
optim = { batch = 8, lr = 1e-3 }
[progressive]
start_steps = 8
end_steps = 2
updates = 10
optim = { batch = 8, lr = 1e-3 }
[run]
log_every = 2
checkpoint_every = 4
"#;

/// A run that is killed again and again is bit for bit the run that never was: models and log, over
/// training, stage one and the halvings.
#[test]
fn killed_and_resumed_runs_equal_uninterrupted_ones() {
    let workspace = Workspace::new();
    let train = workspace.recipe("train.toml", TRAIN);
    workspace.succeed(&["train", &train, "--out", "teacher"]);
    let kills = workspace.run_with_kills(&["train", &train, "--out", "teacher-killed"]);
    assert!(kills > 1, "the run ended before it could be killed");
    let (whole, killed) = (workspace.path("teacher"), workspace.path("teacher-killed"));
    assert_same_run(&whole, &killed, &["teacher"]);

    let distill = workspace.recipe("distill.toml", DISTILL);
    workspace.succeed(&["distill", &distill, "--out", "students"]);
    let kills = workspace.run_with_kills(&["distill", &distill, "--out", "students-killed"]);
    assert!(kills > 1, "the run ended before it could be killed");
    let (whole, killed) = (
        workspace.path("students"),
        workspace.path("students-killed"),
    );
    assert_same_run(&whole, &killed, &["guided", "steps-4", "steps-2"]);
}

/// With several threads, the parts of a batch go through the network in parallel.
#[test]
fn the_number_of_threads_changes_no_bit() {
    let workspace = Workspace::new();
    let train = workspace.recipe("train.toml", TRAIN);
    for (threads, out) in [("1", "single"), ("3", "several")] {
        let mut command = workspace.command(&["train", &train, "--out", out]);
        command.args(["--set", "network.dropout=0", "--set", "updates=4"]);
        command.args(["--set", "optim.batch=80", "--set", "optim.micro_batch=40"]);
        let status = command.env("RAYON_NUM_THREADS", threads).status();
        assert!(status.is_ok_and(|status| status.success()));
    }
    let (single, several) = (workspace.path("single"), workspace.path("several"));
    assert_same_run(&single, &several, &["teacher"]);
}

/// A run resumes from the last complete checkpoint, even after a half-written one.
#[test]
fn a_half_written_checkpoint_is_ignored() {
    let workspace = Workspace::new();
    let train = workspace.recipe("train.toml", TRAIN);
    workspace.succeed(&["train", &train, "--out", "whole"]);
    workspace.succeed(&["train", &train, "--out", "torn"]);
    let checkpoints = workspace.path("torn/checkpoints");
    let entries = std::fs::read_dir(&checkpoints).expect("listed").flatten();
    let newest = entries
        .map(|entry| entry.path())
        .max()
        .expect("a checkpoint");
    std::fs::remove_dir_all(newest).expect("removed");
    let torn = checkpoints.join("999999999999-000.tmp");
    std::fs::create_dir(&torn).expect("made");
    write(&torn.join("raw.safetensors"), b"half");
    std::fs::remove_dir_all(workspace.path("torn/models")).expect("removed");
    workspace.succeed(&["train", &train, "--out", "torn", "--resume"]);
    assert_same_run(
        &workspace.path("whole"),
        &workspace.path("torn"),
        &["teacher"],
    );
}

/// A loss that is not finite ends the run with exit code 1 and names the update and the images; the
/// checkpoints stay.
#[test]
fn a_diverged_run_stops_and_keeps_its_checkpoints() {
    let workspace = Workspace::new();
    let train = workspace.recipe("train.toml", TRAIN);
    let wild = [
        "--set",
        "optim.lr=1e38",
        "--set",
        "optim.clip=1e30",
        "--set",
        "optim.warmup=0",
    ];
    let arguments = [&["train", train.as_str(), "--out", "run"], &wild[..]].concat();
    let output = workspace.run(&arguments);
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{message}");
    for word in [
        "update ",
        "Images in the batch",
        "checkpoint",
        "Nothing that was saved",
        "`optim.lr`",
    ] {
        assert!(message.contains(word), "`{word}` is not in: {message}");
    }
    assert!(!workspace.path("run/models/teacher").exists());
}

/// The keys to change are those of the phase that diverged: a recipe of two stages has two learning
/// rates, and none at the top.
#[test]
fn a_diverged_run_names_the_keys_of_its_phase() {
    let workspace = Workspace::new();
    let train = workspace.recipe("train.toml", TRAIN);
    workspace.succeed(&["train", &train, "--out", "teacher"]);
    let distill = workspace.recipe("distill.toml", DISTILL);
    for table in ["guided", "progressive"] {
        let lr = format!("{table}.optim.lr=1e38");
        let clip = format!("{table}.optim.clip=1e30");
        let output = workspace.run(&[
            "distill", &distill, "--out", table, "--set", &lr, "--set", &clip,
        ]);
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{message}");
        for key in ["lr", "clip"] {
            let key = format!("`{table}.optim.{key}`");
            assert!(message.contains(&key), "{key} is not in: {message}");
        }
    }
}

#[test]
fn recipes_that_cannot_work_are_refused() {
    let workspace = Workspace::new();
    let train = workspace.recipe("train.toml", TRAIN);
    for (set, words) in [
        ("optim.bacth=3", ["bacth", "Did you mean `batch`?"]),
        ("optim.micro_batch=3", ["micro_batch", "divide"]),
        ("updates=0", ["updates", "at least 1"]),
        ("network.head=5", ["head", "multiple"]),
        ("data.path=/nonexistent", ["/nonexistent", "cannot read"]),
        ("optim", ["--set", "section.key=value"]),
    ] {
        workspace.refuse(&["train", &train, "--out", "x", "--set", set], &words);
    }
    workspace.refuse(&["train", "missing.toml"], &["missing.toml"]);

    let two = ["train", &train, "--out", "teacher", "--set", "updates=2"];
    workspace.succeed(&two);
    workspace.refuse(&two, &["already holds a run", "--resume"]);
    let other = ["--set", "updates=2", "--set", "seed=9", "--resume"];
    let other = [&["train", &train, "--out", "teacher"], &other[..]].concat();
    workspace.refuse(&other, &["another recipe", "`seed` was 3 and is 9 now"]);

    let distill = workspace.recipe("distill.toml", DISTILL);
    for (set, words) in [
        ("w=[2.0, 1.0]", ["`w`", "below"]),
        (
            "progressive.start_steps=12",
            ["start_steps", "power of two"],
        ),
        ("progressive.updates=[1, 2, 3]", ["3 entries", "2 halvings"]),
        ("teacher=nowhere", ["nowhere", "cannot read"]),
        ("data.size=16", ["teacher generates", "16"]),
    ] {
        workspace.refuse(&["distill", &distill, "--out", "y", "--set", set], &words);
    }
}

#[test]
fn damaged_data_is_refused() {
    let workspace = Workspace::new();
    let train = workspace.recipe("train.toml", TRAIN);
    let images = workspace.path("data/train-images-idx3-ubyte");
    let whole = std::fs::read(&images).expect("read");
    write(&images, &whole[..whole.len() - 10]);
    let arguments = ["train", &train, "--out", "x"];
    workspace.refuse(&arguments, &["train-images-idx3-ubyte", "truncated"]);
    write_idx(&workspace.path("data"), 40, 39);
    workspace.refuse(&arguments, &["40", "39"]);
}

/// A place that cannot be written, as on a read-only disk: below a regular file.
#[test]
fn a_folder_that_cannot_be_written_is_refused() {
    let workspace = Workspace::new();
    let train = workspace.recipe("train.toml", TRAIN);
    write(&workspace.path("file"), b"");
    let arguments = ["train", &train, "--out", "file/run"];
    workspace.refuse(&arguments, &["cannot write", "file/run"]);
}

/// A disk that fills up in the middle of a checkpoint, by a limit on the size of files: the message
/// names the file, nothing half-written stays, and the checkpoint before is still the newest.
#[cfg(unix)]
#[test]
fn a_disk_that_fills_up_leaves_the_last_checkpoint() {
    let workspace = Workspace::new();
    let train = workspace.recipe("train.toml", TRAIN);
    let short = ["train", &train, "--out", "run", "--set", "updates=8"];
    workspace.succeed(&short);
    let before = log(&workspace.path("run"));
    std::fs::remove_dir_all(workspace.path("run/models")).expect("removed");
    std::fs::remove_dir_all(workspace.path("run/checkpoints/000000000064-001")).expect("removed");
    let limited = "trap '' XFSZ; ulimit -f 8; exec \"$0\" \"$@\"";
    let output = Command::new("sh")
        .args(["-c", limited, env!("CARGO_BIN_EXE_fewstep")])
        .args(short)
        .arg("--resume")
        .current_dir(workspace.folder.path())
        .output()
        .expect("the program starts");
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{message}");
    for part in ["cannot write", "run/", "free some space", "--resume"] {
        assert!(message.contains(part), "no `{part}` in: {message}");
    }
    let checkpoints = std::fs::read_dir(workspace.path("run/checkpoints")).expect("there");
    assert_eq!(checkpoints.count(), 1);
    assert!(
        workspace
            .path("run/checkpoints/000000000032-000/position.json")
            .exists()
    );
    workspace.succeed(&[&short[..], &["--resume"]].concat());
    assert_eq!(log(&workspace.path("run")), before);
}
