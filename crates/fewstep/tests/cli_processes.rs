//! Several processes that train together over MPI, through the real program.
//!
//! `cargo test --release --features fewstep/mpi --test cli_processes -- --ignored`

#[cfg(feature = "storage")]
mod object_server;
mod workspace;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use workspace::{TRAIN, Workspace, assert_same_run, stderr, weights};

/// Four micro-batches, so that up to four ranks have work. The teacher has dropout.
const OF_FOUR: [&str; 4] = ["--set", "optim.batch=16", "--set", "updates=12"];

const DISTILL: &str = r#"
seed = 4
teacher = "TEACHER"
w = [0.0, 2.0]
[data]
kind = "idx"
path = "DATA"
[guided]
updates = 5
optim = { batch = 128, lr = 1e-3, ema = { decay = 0.9 } }
[progressive]
start_steps = 4
end_steps = 2
updates = 4
optim = { batch = 128, lr = 1e-3 }
[run]
log_every = 2
checkpoint_every = 2
"#;

const CODI: &str = r#"
method = "codi"
seed = 4
teacher = "TEACHER"
updates = 6
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
batch = 16
micro_batch = 4
lr = 1e-3
ema = { decay = 0.99 }
[run]
log_every = 2
checkpoint_every = 4
"#;

/// From the students of [`DISTILL`].
const ADAPT: &str = r#"
seed = 7
teacher = "TEACHER"
student = "distill"
steps = 2
[data]
kind = "idx"
path = "DATA"
[fine_tune]
updates = 4
optim = { batch = 16, micro_batch = 4, lr = 1e-3 }
[adapt]
updates = 4
teacher_steps = 4
optim = { batch = 16, micro_batch = 4, lr = 1e-3, ema = { decay = 0.9 } }
[run]
log_every = 2
checkpoint_every = 2
"#;

/// The program as so many processes, which share the cores of this machine.
fn together(workspace: &Workspace, ranks: usize, words: &[&str]) -> Command {
    let mut command = mpirun(workspace);
    command.args(["-n", &ranks.to_string()]);
    command.args(program(words));
    command
}

fn mpirun(workspace: &Workspace) -> Command {
    let mut command = Command::new("mpirun");
    command.args(["--oversubscribe", "--bind-to", "none"]);
    command.current_dir(workspace.folder.path());
    command.env("XDG_CACHE_HOME", workspace.path("cache"));
    for allowed in ["OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"] {
        command.env(allowed, "1");
    }
    command
}

fn program<'a>(words: &[&'a str]) -> Vec<&'a str> {
    [&[env!("CARGO_BIN_EXE_fewstep")], words, &["--threads", "1"]].concat()
}

fn finish(command: &mut Command) -> Output {
    let output = command.output().expect("mpirun starts");
    assert!(output.status.success(), "{}", stderr(&output));
    output
}

/// Trains a teacher with so many processes.
fn train(workspace: &Workspace, ranks: usize, out: &str) -> Output {
    let recipe = workspace.recipe("train.toml", TRAIN);
    let words = [&["train", &recipe, "--out", out][..], &OF_FOUR].concat();
    finish(&mut together(workspace, ranks, &words))
}

#[test]
#[ignore = "needs mpirun and a build with the feature mpi"]
fn several_processes_train_as_one_does() {
    let workspace = Workspace::new();
    let recipe = workspace.recipe("train.toml", TRAIN);
    let alone = [&["train", &recipe, "--out", "teacher"][..], &OF_FOUR].concat();
    workspace.succeed(&alone);
    for ranks in [2, 4] {
        let out = format!("teacher-{ranks}");
        let output = train(&workspace, ranks, &out);
        assert_same_run(
            &workspace.path("teacher"),
            &workspace.path(&out),
            &["teacher"],
        );
        let log = std::fs::read_to_string(workspace.path(&out).join("metrics.jsonl"));
        for line in log.expect("a log").lines() {
            let record: serde_json::Value = serde_json::from_str(line).expect("JSON");
            let share = record["exchange_share"].as_f64().expect("a share");
            assert!(share > 0.0 && share < 1.0, "{share}");
        }
        // One of them speaks.
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(said.matches("The teacher is in").count(), 1, "{said}");
    }
    let lora = format!("{ADAPT}[lora]\nrank = 2\nalpha = 2.0\n");
    let recipes: [(&str, &str, &str, &[&str]); 4] = [
        ("distill", "distill", DISTILL, &["guided", "steps-2"]),
        ("distill", "codi", CODI, &["codi"]),
        ("adapt", "adapted", ADAPT, &["teacher", "steps-2"]),
        ("adapt", "adapted-lora", &lora, &["teacher", "steps-2"]),
    ];
    for (command, name, text, models) in recipes {
        let recipe = workspace.recipe(&format!("{name}.toml"), text);
        workspace.succeed(&[command, &recipe, "--out", name]);
        for ranks in [2, 4] {
            let out = format!("{name}-{ranks}");
            finish(&mut together(
                &workspace,
                ranks,
                &[command, &recipe, "--out", &out],
            ));
            assert_same_run(&workspace.path(name), &workspace.path(&out), models);
        }
    }
}

/// The processes of a command that mpirun started, by their numbers of the system.
fn ranks_of(mpirun: &Child) -> Vec<u32> {
    let text = |file: String| std::fs::read_to_string(file).unwrap_or_default();
    let children = text(format!("/proc/{0}/task/{0}/children", mpirun.id()));
    let mut found: Vec<u32> = children.split_whitespace().flat_map(str::parse).collect();
    found.sort_unstable();
    found
}

/// Starts a long run of two processes and waits for its first checkpoint.
fn start_long(workspace: &Workspace, out: &str, more: &[&str]) -> Child {
    let recipe = workspace.recipe("train.toml", TRAIN);
    let long = [&OF_FOUR[..2], &["--set", "updates=100000"]].concat();
    let words = [&["train", &recipe, "--out", out][..], &long, more].concat();
    let mut command = together(workspace, 2, &words);
    let child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn();
    let child = child.expect("mpirun starts");
    let checkpoints: PathBuf = workspace.path(out).join("checkpoints");
    let start = Instant::now();
    while !std::fs::read_dir(&checkpoints).is_ok_and(|mut entries| entries.next().is_some()) {
        assert!(start.elapsed() < Duration::from_secs(60), "no checkpoint");
        thread::sleep(Duration::from_millis(5));
    }
    child
}

fn signal(process: u32, signal: &str) {
    let sent = Command::new("kill")
        .args([signal, &process.to_string()])
        .status();
    assert!(sent.expect("kill").success());
}

/// A process that is killed ends the run, and another number of processes goes on with it.
#[test]
#[ignore = "needs mpirun and a build with the feature mpi"]
fn a_killed_process_ends_the_run_which_others_resume() {
    let workspace = Workspace::new();
    let child = start_long(&workspace, "killed", &[]);
    let ranks = ranks_of(&child);
    assert_eq!(ranks.len(), 2, "{ranks:?}");
    signal(ranks[1], "-KILL");
    let output = child.wait_with_output().expect("ended");
    assert!(!output.status.success());
    assert!(stderr(&output).contains("signal 9"), "{}", stderr(&output));
    let recipe = workspace.recipe("train.toml", TRAIN);
    let updates = format!("updates={}", newest_updates(&workspace.path("killed")) + 6);
    let set = ["--set", "optim.batch=16", "--set", &updates];
    for (out, ranks) in [("four", 4), ("one", 1)] {
        workspace::copy(&workspace.path("killed"), &workspace.path(out));
        let words = [&["train", &recipe, "--out", out, "--resume"][..], &set].concat();
        finish(&mut together(&workspace, ranks, &words));
    }
    let [four, one] = ["four", "one"].map(|out| weights(&workspace.path(out), "teacher"));
    assert!(four == one);
}

/// Updates in the newest checkpoint of a run with batches of 16.
fn newest_updates(run: &Path) -> u64 {
    let names = std::fs::read_dir(run.join("checkpoints"))
        .expect("listed")
        .flatten();
    let clock = |name: String| name.split_once('-')?.0.parse::<u64>().ok();
    let clocks = names.filter_map(|entry| clock(entry.file_name().into_string().ok()?));
    clocks.max().expect("a checkpoint") / 16
}

/// A process that hangs is named with its host, and ends all.
#[test]
#[ignore = "needs mpirun and a build with the feature mpi"]
fn a_process_that_hangs_is_named() {
    let workspace = Workspace::new();
    let child = start_long(&workspace, "hanging", &["--rank-timeout", "1"]);
    let ranks = ranks_of(&child);
    signal(ranks[1], "-STOP");
    let output = child.wait_with_output().expect("ended");
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("rank 1 on ") && said.contains("did not answer within 1 s"),
        "{said}"
    );
}

/// SIGTERM to one process stops all after a checkpoint.
#[test]
#[ignore = "needs mpirun and a build with the feature mpi"]
fn one_process_that_is_asked_to_stop_stops_all() {
    let workspace = Workspace::new();
    let child = start_long(&workspace, "stopped", &[]);
    signal(ranks_of(&child)[1], "-TERM");
    let output = child.wait_with_output().expect("ended");
    assert!(
        stderr(&output).contains("nothing is lost"),
        "{}",
        stderr(&output)
    );
}

/// A process that was started with another recipe is named, and nothing is written.
#[test]
#[ignore = "needs mpirun and a build with the feature mpi"]
fn a_process_with_another_recipe_is_refused() {
    let workspace = Workspace::new();
    let recipe = workspace.recipe("train.toml", TRAIN);
    let words = [&["train", &recipe, "--out", "run"][..], &OF_FOUR].concat();
    let other = [&words[..], &["--set", "optim.lr=2e-3"]].concat();
    let mut command = mpirun(&workspace);
    command.args(["-n", "2"]).args(program(&words)).arg(":");
    command.args(["-n", "1"]).args(program(&other));
    let output = command.output().expect("mpirun starts");
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("rank 2 on ") && said.contains("has another recipe"),
        "{said}"
    );
    assert!(!workspace.path("run/recipe.toml").exists());
    // More processes than there are micro-batches, which one that all know says once.
    let few = ["--set", "optim.batch=8"];
    let words = [&["train", &recipe, "--out", "run"][..], &few].concat();
    let output = together(&workspace, 3, &words)
        .output()
        .expect("mpirun starts");
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert_eq!(said.matches("there are 3 ranks").count(), 1, "{said}");
}

#[cfg(feature = "storage")]
const OF_CAPTIONS: &str = r#"
seed = 4
teacher = "MODEL"
w_embedding = { dim = 16, scale = 100.0 }
[data]
kind = "captioned"
path = "s3://bucket/set"
size = 16
[guided]
updates = 3
optim = { batch = 4, micro_batch = 2, lr = 1e-3 }
[progressive]
start_steps = 2
end_steps = 1
updates = 2
optim = { batch = 4, micro_batch = 2, lr = 1e-3 }
"#;

/// Each encodes other shards, into one cache, and the run is that of one process.
#[cfg(feature = "storage")]
#[test]
#[ignore = "needs mpirun and a build with the feature mpi"]
fn processes_share_the_encoding_of_a_set_in_a_bucket() {
    let (workspace, server) = (Workspace::new(), object_server::Server::start());
    for shard in 0..3 {
        let mut tar = tar::Builder::new(vec![]);
        for image in 0..3 {
            let file = workspace.path(&format!("{shard}{image}.png"));
            workspace::write_pattern(&file, 3 * shard + image, [16, 16]);
            let caption = file.with_extension("txt");
            std::fs::write(&caption, format!("a cat {shard}")).expect("written");
            for file in [file, caption] {
                let name = file.file_name().expect("a name").to_owned();
                tar.append_path_with_name(&file, name).expect("added");
            }
        }
        let bytes = tar.into_inner().expect("whole");
        let name = format!("bucket/set/{shard}.tar");
        server.state().objects.insert(name, bytes);
    }
    let recipe = OF_CAPTIONS.replace("MODEL", &workspace::golden_path("sd1"));
    let recipe = workspace.recipe("captions.toml", &recipe);
    let words = |out| {
        let cache = ["--set", "data.cache=s3://bucket/latents"];
        [&["distill", &recipe, "--out", out][..], &cache].concat()
    };
    let two = &mut together(&workspace, 2, &words("two"));
    server.used_by(two);
    finish(two);
    let asked = |name: &str| {
        let wanted = format!("GET /bucket/set/{name}.tar");
        let state = server.state();
        state
            .requests
            .iter()
            .filter(|request| **request == wanted)
            .count()
    };
    // None was encoded twice.
    assert_eq!(["0", "1", "2"].map(asked), [1, 1, 1]);
    assert_eq!(server.names("bucket/latents/").len(), 3);
    let mut one = workspace.command(&[&words("one")[..], &["--threads", "1"]].concat());
    server.used_by(&mut one);
    finish(&mut one);
    assert_same_run(
        &workspace.path("one"),
        &workspace.path("two"),
        &["guided", "steps-1"],
    );
}
