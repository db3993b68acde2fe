//! The peak memory that `plan` predicts, against that of the real program.
#![cfg(target_os = "linux")]

mod workspace;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use workspace::{Workspace, copy_text_encoder, golden, write_pattern};

/// How far a prediction may lie from what was measured.
const TOLERANCE: f64 = 0.15;

/// Runs that are tried until one is near enough: which blocks of the heap are free when a thread needs
/// one is luck, and what that adds to the peak differs by a tenth from run to run.
const RUNS: usize = 3;

const TEXT: &str = r#"
seed = 3
updates = 2
[data]
kind = "captioned"
path = "CAPTIONED"
size = 64
[text]
autoencoder = "GOLDEN/sd1/vae"
encoder = "ENCODER"
length = 12
[network]
widths = [64, 128]
blocks = 1
attention = [true, true]
head = 16
groups = 16
[optim]
batch = 8
lr = 1e-4
"#;

const STUDENT: &str = r#"
seed = 4
teacher = "teacher"
w = [0, 4]
w_embedding = { dim = 16, scale = 100.0 }
[data]
kind = "captioned"
path = "CAPTIONED"
size = 64
[guided]
updates = 2
optim = { batch = 8, lr = 1e-4 }
"#;

const LORA: &str = "[lora]\nrank = 4\nalpha = 4.0\n";

const PIXELS: &str = r#"
seed = 3
updates = 2
[data]
kind = "idx"
path = "DATA"
size = 32
[network]
patch = 2
widths = [96, 192]
blocks = 1
attention = [false, true]
head = 16
groups = 16
[optim]
batch = 64
lr = 1e-4
ema = { decay = 0.99 }
"#;

const CONDITIONAL: &str = r#"
method = "codi"
seed = 11
teacher = "pixels"
updates = 2
[data]
kind = "idx"
path = "DATA"
size = 32
[condition]
kind = "bicubic"
factor = 4
[optim]
batch = 16
lr = 1e-4
ema = { decay = 0.99 }
"#;

fn workspace() -> Workspace {
    let workspace = Workspace::new();
    let captioned = workspace.path("captioned");
    for image in 0..8 {
        write_pattern(&captioned.join(format!("{image}.png")), image, [64, 64]);
        std::fs::write(captioned.join(format!("{image}.txt")), "two dogs").expect("written");
    }
    copy_text_encoder(&golden("bert"), &workspace.path("encoder"));
    workspace
}

fn recipe(workspace: &Workspace, name: &str, text: &str) -> String {
    let path = |path: PathBuf| path.display().to_string();
    let text = text
        .replace("GOLDEN", &path(golden(".")))
        .replace("ENCODER", &path(workspace.path("encoder")))
        .replace("CAPTIONED", &path(workspace.path("captioned")));
    workspace.recipe(name, &text)
}

/// The MiB in the row of a plan that starts with these words.
fn predicted(mut plan: Command, way: &str) -> f64 {
    let output = plan.output().expect("the program starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let rows = text.lines().map(|line| line.split_whitespace().collect());
    let found = rows.map(|row: Vec<&str>| row.join(" "));
    let found = found
        .filter_map(|row| mib(row.strip_prefix(way)?.trim_end_matches('.')))
        .next();
    found.unwrap_or_else(|| panic!("no `{way}` in {text}{}", workspace::stderr(&output)))
}

/// A number of MiB out of words such as `1.2 GiB`.
fn mib(words: &str) -> Option<f64> {
    let (number, unit) = words.trim().split_once(' ')?;
    let number: f64 = number.parse().ok()?;
    Some(match unit {
        "GiB" => 1024.0 * number,
        "MiB" => number,
        _ => number / 1024.0,
    })
}

/// The most MiB that the program had in memory.
#[expect(
    clippy::zombie_processes,
    reason = "`wait4` waits, and reports the memory too"
)]
fn measured(mut command: Command) -> f64 {
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let child = child.expect("the program starts");
    let (mut status, mut usage) = (0, std::mem::MaybeUninit::<libc::rusage>::zeroed());
    // SAFETY: both pointers are to places of our own, and the child is waited for only here.
    let usage = unsafe {
        let id = libc::wait4(
            child.id() as libc::pid_t,
            &mut status,
            0,
            usage.as_mut_ptr(),
        );
        assert_eq!(id, child.id() as libc::pid_t);
        usage.assume_init()
    };
    assert_eq!(status, 0, "{command:?}");
    usage.ru_maxrss as f64 / 1024.0
}

#[test]
fn predictions_match_what_the_program_needs() {
    let workspace = workspace();
    let text = recipe(&workspace, "text.toml", TEXT);
    let student = recipe(&workspace, "student.toml", &[STUDENT, LORA].concat());
    let whole = recipe(&workspace, "whole.toml", STUDENT);
    let pixels = recipe(&workspace, "pixels.toml", PIXELS);
    let conditional = recipe(&workspace, "conditional.toml", CONDITIONAL);
    let checkpointing = "optim.gradient_checkpointing=true";
    let cases: [Case<'_>; 11] = [
        ("train", &text, "teacher", &[]),
        ("train", &text, "checkpointing", &[checkpointing]),
        ("train", &text, "accumulating", &["optim.micro_batch=2"]),
        ("distill", &student, "lora", &[]),
        (
            "distill",
            &student,
            "lora-checkpointing",
            &["guided.optim.gradient_checkpointing=true"],
        ),
        ("distill", &whole, "whole", &[]),
        ("distill", &whole, "whole-bf16", &["teacher_precision=bf16"]),
        ("train", &pixels, "pixels", &[]),
        ("train", &pixels, "pixels-checkpointing", &[checkpointing]),
        ("distill", &conditional, "codi", &["train=full"]),
        ("distill", &conditional, "pe-codi", &["train=controlnet"]),
    ];
    let wrong = cases.map(|case| compared(&workspace, case));
    let wrong: Vec<String> = wrong.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A command with a recipe, the folder of its run, and what is set.
type Case<'a> = (&'a str, &'a str, &'a str, &'a [&'a str]);

/// Runs it, and says what was predicted and what was measured where these are far apart.
fn compared(workspace: &Workspace, (command, recipe, name, sets): Case<'_>) -> Option<String> {
    let sets = sets.iter().flat_map(|set| ["--set", set]);
    let arguments: Vec<&str> = [command, recipe].into_iter().chain(sets).collect();
    let trained = match name.starts_with("lora") {
        true => "LoRA",
        false => "all of it",
    };
    let again = match name.ends_with("checkpointing") {
        true => "yes",
        false => "no",
    };
    let plan = workspace.command(&[&["plan"], &arguments[1..]].concat());
    let predicted = predicted(plan, &format!("{trained} {again}"));
    let mut line = String::new();
    for run in 0..RUNS {
        let out = format!(
            "{name}{}",
            if run == 0 {
                String::new()
            } else {
                format!("-{run}")
            }
        );
        let measured = measured(workspace.command(&[&arguments[..], &["--out", &out]].concat()));
        line = format!("{name}: {predicted:.0} MiB predicted, {measured:.0} measured");
        println!("{line}");
        if (predicted / measured - 1.0).abs() <= TOLERANCE {
            return None;
        }
    }
    Some(line)
}

const GUIDED: &str = r#"
seed = 4
teacher = "pixels"
w = [0, 4]
[data]
kind = "idx"
path = "DATA"
size = 32
[guided]
updates = 1
optim = { batch = 8, lr = 1e-4 }
"#;

const GOES_ON: &str = r#"
method = "adversarial"
seed = 5
teacher = "pixels"
updates = 2
adversarial = { student = "guided/models/guided", steps = 1, critic_updates = 1 }
matching = { student = "guided/models/guided", steps = 1, critic_updates = 1 }
[data]
kind = "idx"
path = "DATA"
size = 32
[optim]
batch = 64
lr = 1e-4
ema = { decay = 0.99 }
[run]
log_every = 2
"#;

/// Methods of several players, which have their turns one after another.
#[test]
fn players_are_predicted_together() {
    let workspace = Workspace::new();
    let pixels = recipe(&workspace, "pixels.toml", PIXELS);
    let dropped = "label_dropout=0.1";
    workspace.succeed(&["train", &pixels, "--out", "pixels", "--set", dropped]);
    let guided = recipe(&workspace, "guided.toml", GUIDED);
    workspace.succeed(&["distill", &guided, "--out", "guided"]);
    let goes_on = recipe(&workspace, "goes-on.toml", GOES_ON);
    let matching = "method=matching";
    let cases: [Case<'_>; 3] = [
        ("distill", &goes_on, "adversarial", &[]),
        ("distill", &goes_on, "matching", &[matching]),
        (
            "distill",
            &goes_on,
            "matching-gan",
            &[matching, "matching.gan.weight=0.01"],
        ),
    ];
    let wrong = cases.map(|case| compared(&workspace, case));
    let wrong: Vec<String> = wrong.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Large images and a small network: the autoencoder takes more memory than the training. A plan
/// predicts that, and encodes nothing. One thread works, for whether the peaks of several meet is luck.
#[test]
fn encoding_is_predicted_and_not_done() {
    let workspace = Workspace::new();
    let captioned = workspace.path("captioned");
    for image in 0..4 {
        write_pattern(&captioned.join(format!("{image}.png")), image, [512, 512]);
        std::fs::write(captioned.join(format!("{image}.txt")), "two dogs").expect("written");
    }
    copy_text_encoder(&golden("bert"), &workspace.path("encoder"));
    let text = recipe(&workspace, "text.toml", TEXT);
    let sets = "data.size=512 updates=1 optim.batch=1 network.patch=8 network.widths=[16] network.attention=[false]";
    let sets = sets.split(' ').flat_map(|set| ["--set", set]);
    let arguments: Vec<&str> = [text.as_str()].into_iter().chain(sets).collect();

    let row = "Before that, 4 images and their captions are encoded, which takes";
    let command = |name| {
        let mut command = workspace.command(&[&[name], &arguments[..]].concat());
        command.env("RAYON_NUM_THREADS", "1");
        command
    };
    let predicted = predicted(command("plan"), row);
    let measured = measured(command("train"));
    println!("encoding: {predicted:.0} MiB predicted, {measured:.0} measured");
    assert!((predicted / measured - 1.0).abs() < TOLERANCE);

    // Now the latents are in the cache.
    let output = workspace.run(&[&["plan"], &arguments[..]].concat());
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("all of it") && !text.contains("Before"),
        "{text}"
    );
}

/// `--dry-run` predicts the same memory as the plan for the option of the recipe.
#[test]
fn a_dry_run_agrees_with_the_plan() {
    let workspace = workspace();
    let pixels = recipe(&workspace, "pixels.toml", PIXELS);
    let output = workspace.run(&["train", &pixels, "--dry-run"]);
    let text = String::from_utf8_lossy(&output.stdout);
    let planned = predicted(workspace.command(&["plan", &pixels]), "all of it no");
    let most = text
        .split("at most ")
        .nth(1)
        .and_then(|rest| rest.split(" on").next());
    assert_eq!(most.and_then(mib), Some(planned), "{text}");
}
