//! What is said while nobody reads it.

use super::*;

/// Runs with its standard output, or standard error, gone.
fn run_unread(folder: &Path, words: &[&str], gone: [Option<Stdio>; 2]) -> Output {
    let mut command = command(folder, words);
    // Where it is not set, drivers of GPUs say so on standard error.
    command.env("XDG_RUNTIME_DIR", folder);
    let [out, err] = gone.map(|gone| gone.unwrap_or_else(Stdio::piped));
    let child = command.stdout(out).stderr(err).spawn();
    child.expect("starts").wait_with_output().expect("ended")
}

/// A pipe that nobody reads.
fn closed() -> Option<Stdio> {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    Some(writer.into())
}

#[test]
fn nobody_has_to_read_what_is_said() {
    let home = folder();
    let folder = home.path();
    save(&teacher(), folder, "model");
    let image = sample(&["--out", "x.png"]);
    let devices = ["info", "--devices"];
    for words in [&["info", "model"][..], &devices, &image] {
        let output = run_unread(folder, words, [closed(), None]);
        assert_eq!(output.status.code(), Some(0), "{words:?}");
        assert!(output.stderr.is_empty(), "{words:?}");
        let output = run_unread(folder, words, [None, closed()]);
        assert_eq!(output.status.code(), Some(0), "{words:?}");
    }
    let output = run_unread(folder, &["info", "nowhere"], [None, closed()]);
    assert_eq!(output.status.code(), Some(2));
    let output = run_unread(folder, &sample(&["--out", "-"]), [closed(), None]);
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty());
    golden(folder, "latent/sd1", "latent");
    let export = [
        "export", "--model", "latent", "--form", "gguf", "--out", "-",
    ];
    let output = run_unread(folder, &export, [closed(), None]);
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty());
    #[cfg(target_os = "linux")]
    {
        let full = std::fs::File::options().write(true).open("/dev/full");
        let full = full.expect("a full device").into();
        let output = run_unread(folder, &["info", "model"], [Some(full), None]);
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert!(message.contains("No space left"), "{message}");
    }
}

#[test]
fn a_run_goes_on_when_nobody_reads_its_log() {
    let home = folder();
    let recipe = r#"
seed = 3
updates = 4
[data]
kind = "idx"
path = "builtin:fashion-mnist-sample"
size = 32
[network]
patch = 4
widths = [8]
blocks = 1
attention = [false]
head = 8
groups = 4
[optim]
batch = 4
lr = 1e-3
[run]
log_every = 1
"#;
    std::fs::write(home.path().join("recipe.toml"), recipe).expect("written");
    let words = ["train", "recipe.toml", "--out", "run"];
    let output = run_unread(home.path(), &words, [closed(), closed()]);
    assert_eq!(output.status.code(), Some(0));
    let model = home.path().join("run/models/teacher").join(WEIGHTS_FILE);
    assert!(model.is_file());
}
