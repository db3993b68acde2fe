//! `train` and `distill` through the real binary: killed, resumed, and refused.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A folder with tiny data and recipes in it.
struct Workspace {
    folder: tempfile::TempDir,
}

const TRAIN: &str = r#"
seed = 3
updates = 40
flip = true
[data]
kind = "idx"
path = "DATA"
[network]
widths = [8, 16]
blocks = 1
attention = [false, true]
head = 8
groups = 4
dropout = 0.1
[optim]
batch = 8
micro_batch = 4
lr = 1e-3
warmup = 5
ema = { decay = 0.99 }
[run]
log_every = 2
checkpoint_every = 4
"#;

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

impl Workspace {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("data");
        std::fs::create_dir(&data).expect("made");
        write_idx(&data, 40, 40);
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a recipe and returns its path.
    fn recipe(&self, name: &str, text: &str) -> String {
        let teacher = self.path("teacher/models/teacher");
        let text = text
            .replace("DATA", &self.path("data").display().to_string())
            .replace("TEACHER", &teacher.display().to_string());
        let path = self.path(name);
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fewstep"));
        command.current_dir(self.folder.path()).args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments)
            .output()
            .expect("the program starts")
    }

    fn succeed(&self, arguments: &[&str]) {
        let output = self.run(arguments);
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            stderr(&output)
        );
    }

    /// Runs, and checks that it refuses its input with all of these words.
    fn refuse(&self, arguments: &[&str], words: &[&str]) {
        assert_refused(&self.run(arguments), words);
    }

    /// Starts, kills after a while, again and again, until a resumed run ends by itself. Returns the kills.
    fn run_with_kills(&self, arguments: &[&str]) -> usize {
        let mut wait = Duration::from_millis(40);
        let resumed = [arguments, &["--resume"]].concat();
        for kills in 0..200 {
            let mut child = self
                .command(if kills == 0 { arguments } else { &resumed })
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("the program starts");
            let start = Instant::now();
            while start.elapsed() < wait {
                if let Some(status) = child.try_wait().expect("waits") {
                    assert!(status.success(), "a resumed run failed");
                    return kills;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            child.kill().expect("killed");
            child.wait().expect("ended");
            // A different moment each time, and in the end enough to get further than the last checkpoint.
            wait += Duration::from_millis(17);
        }
        panic!("the run never ended");
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn assert_refused(output: &Output, words: &[&str]) {
    let message = stderr(output);
    assert_eq!(output.status.code(), Some(2), "{message}");
    for word in words {
        assert!(message.contains(word), "`{word}` is not in: {message}");
    }
}

/// Two classes of 8x8 pictures in the IDX format, with as many labels as told.
fn write_idx(folder: &Path, pictures: u32, labels: u32) {
    let mut bytes = [0x0803, pictures, 8, 8].map(u32::to_be_bytes).concat();
    for picture in 0..pictures {
        let flip = (picture % 2 * 255) as u8;
        bytes.extend((0..64).map(|i| (i * 3 + picture * 7) as u8 ^ flip));
    }
    write(&folder.join("train-images-idx3-ubyte"), &bytes);
    let mut bytes = [0x0801, labels].map(u32::to_be_bytes).concat();
    bytes.extend((0..labels).map(|i| (i % 2) as u8));
    write(&folder.join("train-labels-idx1-ubyte"), &bytes);
}

fn write(path: &Path, bytes: &[u8]) {
    let mut file = std::fs::File::create(path).expect("made");
    file.write_all(bytes).expect("written");
}

/// Names and bytes of a model's tensors; not the file, whose metadata has no fixed order.
fn weights(run: &Path, model: &str) -> Vec<(String, Vec<u8>)> {
    let file = run.join("models").join(model);
    let file = file.join("unet/diffusion_pytorch_model.safetensors");
    let bytes = std::fs::read(file).expect("the model is there");
    let file = safetensors::SafeTensors::deserialize(&bytes).expect("whole");
    let tensor =
        |(name, tensor): (_, safetensors::tensor::TensorView)| (name, tensor.data().to_vec());
    let mut tensors: Vec<_> = file.tensors().into_iter().map(tensor).collect();
    tensors.sort();
    tensors
}

/// The log without the one number that depends on the clock on the wall.
fn log(run: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).expect("the log is there");
    let without_speed = |line: &str| {
        let mut value: serde_json::Value = serde_json::from_str(line).expect("JSON");
        value["samples_per_second"] = serde_json::Value::Null;
        value.to_string()
    };
    text.lines().map(without_speed).collect()
}

fn assert_same_run(a: &Path, b: &Path, models: &[&str]) {
    for model in models {
        assert!(weights(a, model) == weights(b, model), "{model} differs");
    }
    assert_eq!(log(a), log(b));
}

/// A run that is killed again and again is bit for bit the run that never was: models and log, over training,
/// stage one and the halvings.
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

/// A batch goes through the network in parts, side by side where there are several threads.
#[test]
fn the_number_of_threads_changes_no_bit() {
    let workspace = Workspace::new();
    let train = workspace.recipe("train.toml", TRAIN);
    for (threads, out) in [("1", "alone"), ("3", "together")] {
        let mut command = workspace.command(&["train", &train, "--out", out]);
        command.args(["--set", "network.dropout=0", "--set", "updates=4"]);
        command.args(["--set", "optim.batch=80", "--set", "optim.micro_batch=40"]);
        let status = command.env("RAYON_NUM_THREADS", threads).status();
        assert!(status.is_ok_and(|status| status.success()));
    }
    let (alone, together) = (workspace.path("alone"), workspace.path("together"));
    assert_same_run(&alone, &together, &["teacher"]);
}

/// Whatever lies half-written in the folder of checkpoints, a run resumes from the last whole one.
#[test]
fn a_half_written_checkpoint_is_passed_over() {
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

/// A loss that is not finite ends the run with exit code 1 and names the update and the pictures; the
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
        "Pictures in the batch",
        "checkpoint",
        "nothing that was saved",
    ] {
        assert!(message.contains(word), "`{word}` is not in: {message}");
    }
    assert!(!workspace.path("run/models/teacher").exists());
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
    workspace.refuse(&two, &["holds a run already", "--resume"]);
    let longer = ["train", &train, "--out", "teacher", "--resume"];
    workspace.refuse(&longer, &["another recipe", "updates"]);

    let distill = workspace.recipe("distill.toml", DISTILL);
    for (set, words) in [
        ("w=[2.0, 1.0]", ["`w`", "below"]),
        (
            "progressive.start_steps=12",
            ["start_steps", "power of two"],
        ),
        ("progressive.updates=[1, 2, 3]", ["3 entries", "2 halvings"]),
        ("teacher=nowhere", ["nowhere", "cannot read"]),
        ("data.size=16", ["teacher draws", "16"]),
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

/// A disk that fills up in the middle of a checkpoint, by a limit on the size of files: the message names the
/// file, and the checkpoint before is still the newest.
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
    assert_refused(&output, &["cannot write", "run/"]);
    assert!(
        workspace
            .path("run/checkpoints/000000000032-000/position.json")
            .exists()
    );
    workspace.succeed(&[&short[..], &["--resume"]].concat());
    assert_eq!(log(&workspace.path("run")), before);
}
