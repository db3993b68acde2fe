//! A folder with tiny data and recipes, and the real program to run, kill and resume in it.

#![allow(dead_code, reason = "every test program uses another part")]

use fewstep_data::ImageShape;
use fewstep_data::image::{self, Image, write_png};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A folder with tiny data and recipes in it.
pub(crate) struct Workspace {
    pub(crate) folder: tempfile::TempDir,
}

/// The recipe of a tiny teacher.
pub(crate) const TRAIN: &str = r#"
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

/// The recipe of its students: of stage one, and of two steps and one.
pub(crate) const STUDENTS: &str = r#"
seed = 4
teacher = "TEACHER"
w = [0.0, 2.0]
[data]
kind = "idx"
path = "DATA"
[guided]
updates = 2
optim = { batch = 8, lr = 1e-3 }
[progressive]
start_steps = 4
end_steps = 1
updates = 2
optim = { batch = 8, lr = 1e-3 }
"#;

impl Workspace {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("data");
        std::fs::create_dir(&data).expect("made");
        write_idx(&data, 40, 40);
        Self { folder }
    }

    /// With a teacher, and students of it in `students`.
    pub(crate) fn with_students() -> Self {
        let workspace = Self::new();
        let train = workspace.recipe("train.toml", TRAIN);
        workspace.succeed(&["train", &train, "--out", "teacher", "--set", "updates=4"]);
        let distill = workspace.recipe("distill.toml", STUDENTS);
        workspace.succeed(&["distill", &distill, "--out", "students"]);
        workspace
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Generates an image of a class with a run's students in two steps, with these words too.
    pub(crate) fn generate(&self, class: &str, out: &str, words: &[&str]) -> Image {
        let sample = ["sample", "--model", "students", "--steps", "2"];
        let one = ["--class", class, "--count", "1", "--out-dir", out];
        self.succeed(&[&sample[..], &one, words].concat());
        let file = self.path(out).join("000000.png");
        image::read(&file, None, 3).expect("an image")
    }

    /// Writes a recipe and returns its path.
    pub(crate) fn recipe(&self, name: &str, text: &str) -> String {
        let teacher = self.path("teacher/models/teacher");
        let text = text
            .replace("DATA", &self.path("data").display().to_string())
            .replace("TEACHER", &teacher.display().to_string());
        let path = self.path(name);
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        command(self.folder.path(), words)
    }

    pub(crate) fn run(&self, words: &[&str]) -> Output {
        run(self.folder.path(), words)
    }

    /// As the function of this name.
    pub(crate) fn succeed(&self, words: &[&str]) -> (String, String) {
        succeed(self.folder.path(), words)
    }

    /// As the function of this name.
    pub(crate) fn refuse(&self, words: &[&str], parts: &[&str]) {
        refuse(self.folder.path(), words, parts);
    }

    /// Starts, kills after a while, again and again, until a resumed run ends by itself. Returns
    /// the kills.
    pub(crate) fn run_with_kills(&self, arguments: &[&str]) -> usize {
        let mut wait = Duration::from_millis(40);
        let resumed = [arguments, &["--resume"]].concat();
        let out = arguments.iter().skip_while(|word| **word != "--out").nth(1);
        let recipe = self.path(out.expect("--out")).join("recipe.toml");
        for kills in 0..200 {
            // A run that was killed before it began cannot be resumed.
            let words = if recipe.exists() { &resumed } else { arguments };
            let mut child = self
                .command(words)
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
            // A different moment each time, and in the end enough to get further than the last
            // checkpoint.
            wait += Duration::from_millis(17) + wait / 16;
        }
        panic!("the run never ended");
    }
}

/// Writes a colour image of this height and width, a different one for each number.
pub(crate) fn write_pattern(file: &Path, number: usize, [height, width]: [usize; 2]) {
    let shape = ImageShape {
        channels: 3,
        height,
        width,
    };
    let pixels = (0..shape.len()).map(|i| ((i * 37 + number * 11) % 256) as u8);
    let pixels = pixels.collect();
    std::fs::create_dir_all(file.parent().expect("in a folder")).expect("made");
    write_png(file, &Image { shape, pixels }).expect("written");
}

/// Puts the text encoder and the tokenizer of a model into one folder, as they are shared.
pub(crate) fn copy_text_encoder(model: &Path, to: &Path) {
    std::fs::create_dir(to).expect("made");
    for part in ["text_encoder", "tokenizer"] {
        let files = std::fs::read_dir(model.join(part)).expect("there");
        for file in files.flatten() {
            std::fs::copy(file.path(), to.join(file.file_name())).expect("copied");
        }
    }
}

/// The program with these words in a folder that is also the home of its cache.
pub(crate) fn command(folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fewstep"));
    command.current_dir(folder).args(words);
    command.env("XDG_CACHE_HOME", folder.join("cache"));
    command
}

pub(crate) fn run(folder: &Path, words: &[&str]) -> Output {
    command(folder, words).output().expect("the program starts")
}

/// Runs the program, which must succeed. Returns its standard output and standard error.
pub(crate) fn succeed(folder: &Path, words: &[&str]) -> (String, String) {
    let output = run(folder, words);
    assert!(
        output.status.success(),
        "{words:?} failed: {}",
        stderr(&output)
    );
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    (out, stderr(&output))
}

/// Runs the program, which must refuse its input with a message that contains these parts.
pub(crate) fn refuse(folder: &Path, words: &[&str], parts: &[&str]) {
    let output = run(folder, words);
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{words:?}: {message}");
    assert_refused(&output, parts);
}

pub(crate) fn assert_refused(output: &Output, parts: &[&str]) {
    let message = stderr(output);
    assert_eq!(output.status.code(), Some(2), "{message}");
    for part in parts {
        assert!(message.contains(part), "no `{part}` in: {message}");
    }
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The folder of a tiny latent diffusion model with random weights.
pub(crate) fn golden(name: &str) -> PathBuf {
    let models = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../formats/tests/golden/latent"
    );
    Path::new(models).join(name)
}

/// Its path as a word of a command line.
pub(crate) fn golden_path(name: &str) -> String {
    golden(name).display().to_string()
}

/// Copies a folder with everything in it.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("made");
    for entry in std::fs::read_dir(from).expect("listed").flatten() {
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).expect("copied")),
        }
    }
}

/// Two classes of 8x8 images in the IDX format, with this number of labels.
pub(crate) fn write_idx(folder: &Path, images: u32, labels: u32) {
    let mut bytes = [0x0803, images, 8, 8].map(u32::to_be_bytes).concat();
    for image in 0..images {
        let flip = (image % 2 * 255) as u8;
        bytes.extend((0..64).map(|i| (i * 3 + image * 7) as u8 ^ flip));
    }
    write(&folder.join("train-images-idx3-ubyte"), &bytes);
    let mut bytes = [0x0801, labels].map(u32::to_be_bytes).concat();
    bytes.extend((0..labels).map(|i| (i % 2) as u8));
    write(&folder.join("train-labels-idx1-ubyte"), &bytes);
}

pub(crate) fn write(path: &Path, bytes: &[u8]) {
    let mut file = std::fs::File::create(path).expect("made");
    file.write_all(bytes).expect("written");
}

/// Names and bytes of a model's tensors.
pub(crate) fn weights(run: &Path, model: &str) -> Vec<(String, Vec<u8>)> {
    tensors(&run.join("models").join(model).join("unet"))
}

/// The same for the model's ControlNet; empty if it has none.
pub(crate) fn controlnet(run: &Path, model: &str) -> Vec<(String, Vec<u8>)> {
    let folder = run.join("models").join(model).join("controlnet");
    if folder.exists() {
        tensors(&folder)
    } else {
        vec![]
    }
}

fn tensors(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let file = folder.join("diffusion_pytorch_model.safetensors");
    let bytes = std::fs::read(file).expect("the model is there");
    let file = safetensors::SafeTensors::deserialize(&bytes).expect("whole");
    let tensor =
        |(name, tensor): (_, safetensors::tensor::TensorView)| (name, tensor.data().to_vec());
    let mut tensors: Vec<_> = file.tensors().into_iter().map(tensor).collect();
    tensors.sort();
    tensors
}

/// The log without the numbers that depend on the speed of the machine.
pub(crate) fn log(run: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).expect("the log is there");
    let without_speed = |line: &str| {
        let mut value: serde_json::Value = serde_json::from_str(line).expect("JSON");
        for speed in ["samples_per_second", "exchange_share"] {
            value[speed] = serde_json::Value::Null;
        }
        value.to_string()
    };
    text.lines().map(without_speed).collect()
}

pub(crate) fn assert_same_run(a: &Path, b: &Path, models: &[&str]) {
    for model in models {
        assert!(weights(a, model) == weights(b, model), "{model} differs");
        assert!(
            controlnet(a, model) == controlnet(b, model),
            "the ControlNet of {model} differs"
        );
    }
    assert_eq!(log(a), log(b));
}
