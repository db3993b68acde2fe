//! Runs that are stopped, and two runs that want one folder: through the real program.

#![cfg(unix)]

mod workspace;

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use workspace::{TRAIN, Workspace, assert_same_run, stderr};

/// Starts the program and waits until this file is there.
fn start(workspace: &Workspace, words: &[&str], file: &Path) -> Child {
    let mut command = workspace.command(words);
    let command = command.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let begun = Instant::now();
    while !file.exists() {
        assert!(child.try_wait().expect("waits").is_none(), "it has ended");
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "it does not begin"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
    child
}

fn signal(child: &Child, number: i32) {
    // SAFETY: it sends a signal to a child that has not been waited for.
    assert_eq!(unsafe { libc::kill(child.id() as i32, number) }, 0);
}

/// Ctrl-C and SIGTERM stop a run after a checkpoint, wherever that is in a window of the log, and
/// the resumed run is bit for bit the one that never was stopped.
#[test]
fn signals_stop_a_run_with_a_checkpoint() {
    let workspace = Workspace::new();
    let text = TRAIN
        .replace("log_every = 2", "log_every = 7")
        .replace("checkpoint_every = 4", "checkpoint_every = 100")
        .replace("updates = 40", "updates = 200");
    let train = workspace.recipe("train.toml", &text);
    workspace.succeed(&["train", &train, "--out", "whole"]);
    let words = ["train", &train, "--out", "run"];
    let mut resume: &[&str] = &[];
    for (number, code) in [(libc::SIGINT, 130), (libc::SIGTERM, 143)] {
        let words = [&words[..], resume].concat();
        let child = start(&workspace, &words, &workspace.path("run/metrics.jsonl"));
        // Long enough for some updates, and for a resumed run to begin.
        std::thread::sleep(Duration::from_millis(200));
        signal(&child, number);
        let output = child.wait_with_output().expect("ends");
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{message}");
        for part in ["stopped in `teacher`", "run/checkpoints/", "--resume"] {
            assert!(message.contains(part), "no `{part}` in: {message}");
        }
        resume = &["--resume"];
    }
    assert!(!workspace.path("run/.lock").exists());
    workspace.succeed(&[&words[..], resume].concat());
    let (whole, run) = (workspace.path("whole"), workspace.path("run"));
    assert_same_run(&whole, &run, &["teacher"]);
}

/// The second signal does not wait for the end of an update.
#[test]
fn a_second_signal_ends_a_run_at_once() {
    let workspace = Workspace::new();
    let train = workspace.recipe("train.toml", TRAIN);
    let slow = [
        "--set",
        "optim.batch=20000",
        "--set",
        "optim.micro_batch=20000",
    ];
    let words = [&["train", &train, "--out", "run"], &slow[..]].concat();
    let child = start(&workspace, &words, &workspace.path("run/metrics.jsonl"));
    std::thread::sleep(Duration::from_millis(100));
    signal(&child, libc::SIGINT);
    std::thread::sleep(Duration::from_millis(200));
    signal(&child, libc::SIGINT);
    let output = child.wait_with_output().expect("ends");
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(130), "{message}");
    assert!(message.contains("SIGINT: the run stops after"), "{message}");
    assert!(!message.contains("stopped in"), "{message}");
}

/// A folder with a live run is refused with the name of its process; what a killed one leaves is
/// taken over.
#[test]
fn a_folder_has_one_run_at_a_time() {
    let workspace = Workspace::new();
    let train = workspace.recipe("train.toml", TRAIN);
    let long = ["train", &train, "--out", "run", "--set", "updates=1000000"];
    let checkpoint = workspace.path("run/checkpoints/000000000032-000");
    let mut child = start(&workspace, &long, &checkpoint);
    let resume = [&long[..], &["--resume"]].concat();
    let process = format!("process {}", child.id());
    workspace.refuse(&resume, &["run is in use by", &process]);
    child.kill().expect("killed");
    child.wait().expect("ended");
    assert!(workspace.path("run/.lock").exists());
    let mut child = start(&workspace, &resume, &workspace.path("run/inputs.toml"));
    child.kill().expect("killed");
    child.wait().expect("ended");
}

/// What is in the folder of checkpoints under a name that no run gives stays, and is no checkpoint.
/// What a run left unfinished goes.
#[test]
fn strangers_among_checkpoints_stay() {
    let workspace = Workspace::new();
    let train = workspace.recipe("train.toml", TRAIN);
    let words = ["train", &train, "--out", "run"];
    workspace.succeed(&[&words[..], &["--set", "updates=5"]].concat());
    let checkpoints = workspace.path("run/checkpoints");
    let strangers = [
        "zz-best",
        "999999999999-000-copy",
        "5",
        "999999999999-000.old",
    ];
    for name in strangers {
        std::fs::create_dir(checkpoints.join(name)).expect("made");
        std::fs::write(checkpoints.join(name).join("raw.safetensors"), "").expect("written");
    }
    let half = checkpoints.join("000000000016-000.tmp");
    std::fs::create_dir(&half).expect("made");
    // As a process that is killed leaves it.
    let unfinished = workspace.path("run/models/teacher/unet/.tmpa1b2c3.tmp");
    std::fs::write(&unfinished, "half").expect("written");
    let more = ["--set", "updates=20", "--set", "run.keep=1", "--resume"];
    workspace.succeed(&[&words[..], &more].concat());
    for name in strangers {
        assert!(
            checkpoints.join(name).join("raw.safetensors").exists(),
            "{name}"
        );
    }
    assert!(!half.exists() && !unfinished.exists());
    let all = std::fs::read_dir(&checkpoints).expect("there").count();
    assert_eq!(all, strangers.len() + 1);
    let (out, _) = workspace.succeed(&["info", "run"]);
    assert!(out.contains("1, newest 000000000160-001"), "{out}");
}

/// `checkpoint_every` is what it says, whatever `log_every` is.
#[test]
fn checkpoints_need_no_end_of_a_window() {
    let workspace = Workspace::new();
    let train = workspace.recipe("train.toml", TRAIN);
    let settings = [
        "run.log_every=4",
        "run.checkpoint_every=3",
        "run.keep=9",
        "updates=8",
    ];
    let settings = settings.iter().flat_map(|setting| ["--set", setting]);
    let settings: Vec<&str> = settings.collect();
    let words = |out| [&["train", &train, "--out", out], &settings[..]].concat();
    for out in ["whole", "run"] {
        workspace.succeed(&words(out));
    }
    let folder = workspace.path("run");
    for name in [
        "checkpoints/000000000064-001",
        "checkpoints/000000000048-000",
        "models",
    ] {
        std::fs::remove_dir_all(folder.join(name)).expect("there");
    }
    workspace.succeed(&[&words("run")[..], &["--resume"]].concat());
    assert_same_run(&workspace.path("whole"), &folder, &["teacher"]);
}
