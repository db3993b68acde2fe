//! What holds for all commands: how much is said, flags for numbers and paths, progress.

mod tiny;
mod workspace;

use fewstep_diffusion::DistilledFor;
use std::path::Path;
use tempfile::TempDir;
use tiny::{save, student, teacher};
use workspace::{TRAIN, Workspace, assert_refused, command, refuse, run, stderr, succeed};

fn models() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    save(&teacher(), folder.path(), "teacher");
    let student = student(DistilledFor::Deterministic, Some(2));
    save(&student, folder.path(), "student");
    folder
}

const SAMPLE: [&str; 5] = ["sample", "--model", "student", "--count", "1"];

/// The seed that a summary names.
fn seed(folder: &Path, given: &str) -> u64 {
    let words = [&SAMPLE[..], &["--json", "--seed", given]].concat();
    let (out, _) = succeed(folder, &words);
    let summary: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    summary["seed"].as_u64().expect("a number")
}

#[test]
fn a_seed_of_minus_one_is_random_and_named() {
    let folder = models();
    let random = [0; 3].map(|_| seed(folder.path(), "-1"));
    assert!(
        random[0] != random[1] || random[1] != random[2],
        "{random:?}"
    );
    assert_eq!(seed(folder.path(), &random[0].to_string()), random[0]);
    assert!(seed(folder.path(), "random") <= u64::from(u32::MAX));
    for (flag, value, part) in [
        ("--seed", "-2", "-1 for a random seed"),
        ("--seed", "x", "a whole number"),
        ("--steps", "-4", "at least 1"),
        ("--count", "-1", "at least 1"),
        ("--batch", "-1", "at least 1"),
        ("--threads", "-1", "at least 1"),
        ("--size", "-5x3", "512x768"),
        ("--threads", "0", "at least 1"),
        ("--threads", "1025", "at most 1024"),
        ("--threads", "18446744073709551616", "at most 1024"),
        ("--columns", "18446744073709551615", "at most"),
        ("--batch", "18446744073709551615", "at most"),
    ] {
        let words = [&SAMPLE[..2], &["student", flag, value]].concat();
        refuse(folder.path(), &words, &[flag, value, part]);
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let folder = models();
    let image = |threads: &str| {
        let words = [&SAMPLE[..], &["--threads", threads, "--out", "image.png"]].concat();
        succeed(folder.path(), &words);
        std::fs::read(folder.path().join("image.png")).expect("written")
    };
    assert_eq!(image("1"), image("3"));
    let said = stderr(&run(
        folder.path(),
        &[&SAMPLE[..], &["-v", "--threads", "3"]].concat(),
    ));
    assert!(
        said.contains("3 threads") && said.contains("student"),
        "{said}"
    );
}

#[test]
fn quiet_runs_say_only_their_results() {
    let workspace = Workspace::new();
    let recipe = workspace.recipe("train.toml", TRAIN);
    let train = [
        "train",
        &recipe,
        "--set",
        "updates=2",
        "--set",
        "run.log_every=1",
    ];
    let (out, said) = workspace.succeed(&[&train[..], &["--out", "loud"]].concat());
    assert!(
        out.contains("The teacher is in loud/models/teacher"),
        "{out}"
    );
    let next = "Next: fewstep distill RECIPE --set teacher=loud/models/teacher";
    for part in ["dataset read", "update 2", next] {
        assert!(said.contains(part), "no `{part}` in: {said}");
    }
    let (out, said) = workspace.succeed(&[&train[..], &["-q", "--out", "quiet"]].concat());
    assert!(out.contains("quiet/models/teacher"), "{out}");
    assert_eq!(said, "");
    workspace.refuse(&["info", "-q", "-v"], &["cannot be used with"]);
}

#[test]
fn a_tilde_is_the_home_of_the_user_in_every_path() {
    let workspace = Workspace::new();
    let home = workspace.path("home");
    let succeed = |words: &[&str]| {
        let output = command(workspace.folder.path(), words)
            .env("HOME", &home)
            .output()
            .expect("the program starts");
        assert!(output.status.success(), "{}", stderr(&output));
    };
    let data = home.join("data");
    std::fs::create_dir_all(&data).expect("made");
    workspace::write_idx(&data, 20, 20);
    std::fs::write(home.join("train.toml"), TRAIN.replace("DATA", "~/data")).expect("written");
    succeed(&["train", "~/train.toml", "--set", "updates=1", "--out=~/run"]);
    assert!(home.join("run/models/teacher").is_dir());
    let model = "--model=~/run";
    succeed(&[
        "sample",
        model,
        "--steps",
        "1",
        "--count",
        "1",
        "--out=~/a.png",
    ]);
    assert!(home.join("a.png").is_file());
    succeed(&[
        "sample",
        model,
        "--steps",
        "1",
        "--count",
        "4",
        "--out-dir=~/all",
    ]);
    assert!(home.join("all/000000.png").is_file());
    succeed(&["info", "~/train.toml"]);
    succeed(&["export", model, "--out=~/exported"]);
    assert!(home.join("exported/unet").is_dir());
    succeed(&[
        "eval",
        "--images=~/all",
        "--data=folder:~/all",
        "--no-cache",
        "--out=~/e.json",
    ]);
    assert!(home.join("e.json").is_file() && !workspace.path("~").exists());
}

#[test]
fn completions_and_manual_pages_know_all_commands() {
    let folder = tempfile::tempdir().expect("a folder");
    for shell in ["bash", "zsh", "fish"] {
        let (script, _) = succeed(folder.path(), &["completions", shell]);
        for part in ["upscale", "sheet", "threads"] {
            assert!(script.contains(part), "no `{part}` for {shell}");
        }
    }
    refuse(folder.path(), &["completions", "cmd"], &["bash"]);
    succeed(folder.path(), &["man", "--out", "man"]);
    for (page, part) in [
        ("fewstep.1", "fewstep\\-distill"),
        ("fewstep-sample.1", "guidance\\-scale"),
        ("fewstep-cache-clear.1", "statistics"),
    ] {
        let text = std::fs::read_to_string(folder.path().join("man").join(page));
        let text = text.unwrap_or_else(|error| panic!("{page}: {error}"));
        assert!(text.contains(part), "no `{part}` in {page}");
    }
}

#[test]
fn the_cache_is_listed_and_cleared() {
    let folder = tempfile::tempdir().expect("a folder");
    let kept = |name: &str| folder.path().join("cache").join(name);
    let hub = "huggingface/hub/models--owner--model";
    std::fs::create_dir_all(kept("fewstep")).expect("made");
    std::fs::create_dir_all(kept(hub)).expect("made");
    for name in [
        "fewstep/latents-1.safetensors",
        "fewstep/images-1.safetensors",
        "fewstep/real-1-2-statistics.safetensors",
        "huggingface/hub/models--owner--model/blob",
    ] {
        std::fs::write(kept(name), vec![0; 1500]).expect("written");
    }
    let (out, _) = succeed(folder.path(), &["cache"]);
    for part in [
        "cache/fewstep",
        "1.5 KiB",
        "2.9 KiB",
        "latents-1",
        "real-1",
        "owner/model",
    ] {
        assert!(out.contains(part), "no `{part}` in:\n{out}");
    }
    let (json, _) = succeed(folder.path(), &["cache", "--json"]);
    let entries: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(entries.as_array().map(Vec::len), Some(4));
    refuse(
        folder.path(),
        &["cache", "clear", "latent"],
        &["latents, statistics, all"],
    );
    succeed(folder.path(), &["cache", "clear", "latents"]);
    assert!(!kept("fewstep/images-1.safetensors").exists());
    assert!(kept("fewstep/real-1-2-statistics.safetensors").exists());
    succeed(folder.path(), &["cache", "clear", "all"]);
    assert!(!kept("fewstep/real-1-2-statistics.safetensors").exists() && kept(hub).exists());
    succeed(folder.path(), &["cache", "clear", "owner/model"]);
    assert!(!kept(hub).exists() && kept("huggingface/hub").exists());
}

/// What a program writes to a terminal of this many columns.
#[cfg(target_os = "linux")]
fn on_terminal(folder: &Path, words: &[&str], columns: u16, no_color: bool) -> String {
    use std::io::Read;
    use std::os::fd::FromRawFd;
    let (mut ours, mut theirs) = (0, 0);
    let size = libc::winsize {
        ws_row: 24,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let null = std::ptr::null_mut();
    // SAFETY: both descriptors are new, and each gets one owner below.
    let (mut ours, theirs) = unsafe {
        assert_eq!(
            libc::openpty(&mut ours, &mut theirs, null, null.cast(), &size),
            0
        );
        (
            std::fs::File::from_raw_fd(ours),
            std::fs::File::from_raw_fd(theirs),
        )
    };
    let mut command = command(folder, words);
    command.stderr(theirs.try_clone().expect("a descriptor"));
    command
        .stdout(std::process::Stdio::null())
        .env("TERM", "xterm");
    match no_color {
        true => command.env("NO_COLOR", "1"),
        false => command.env_remove("NO_COLOR"),
    };
    let mut child = command.spawn().expect("the program starts");
    drop((command, theirs));
    let mut said = vec![];
    // A terminal that everybody has left is an error for its reader.
    let _ = ours.read_to_end(&mut said);
    assert!(child.wait().expect("it ends").success());
    String::from_utf8_lossy(&said).into_owned()
}

/// The text without its control sequences.
#[cfg(target_os = "linux")]
fn visible(line: &str) -> String {
    let mut shown = String::new();
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' => drop(rest.find(char::is_ascii_alphabetic)),
            _ => shown.push(c),
        }
    }
    shown
}

#[cfg(target_os = "linux")]
#[test]
fn a_progress_bar_fits_the_terminal_and_ends_at_its_total() {
    let workspace = Workspace::new();
    let recipe = workspace.recipe("train.toml", TRAIN);
    let settings = ["--set", "updates=300", "--set", "run.log_every=100"];
    let train = ["train", &recipe, "--out", "run", "--set", "optim.batch=4"];
    let words = [&train[..], &settings].concat();
    let said = on_terminal(workspace.folder.path(), &words, 80, false);
    // A bar that is as wide as the terminal needs no line break before what comes next.
    let said = said.replace("Next:", "\nNext:");
    let bars: Vec<String> = said.split(['\r', '\n']).map(visible).collect();
    let bars: Vec<&String> = bars
        .iter()
        .filter(|line| line.contains("updates"))
        .collect();
    assert!(bars.len() > 1, "{said:?}");
    for bar in &bars {
        assert!(bar.chars().count() <= 80, "{bar:?}");
    }
    let last = bars.last().expect("a bar");
    assert!(
        last.contains("1/1 teacher") && last.contains("300/300 updates"),
        "{last}"
    );
    assert!(last.contains("loss") && !last.contains('─'), "{last}");
}

#[cfg(target_os = "linux")]
#[test]
fn the_log_has_no_colours() {
    let workspace = Workspace::new();
    let recipe = workspace.recipe("train.toml", TRAIN);
    let words = ["train", &recipe, "--dry-run"];
    for no_color in [false, true] {
        let noted = on_terminal(workspace.folder.path(), &words, 80, no_color);
        assert!(!noted.contains("\u{1b}["), "{noted:?}");
    }
}

/// Variables of the environment that are empty count as not set, and one that would start more
/// threads than a process can have is refused.
#[test]
fn the_environment_is_checked() {
    let folder = tempfile::tempdir().expect("a folder");
    let info = ["info", "builtin:fashion-mnist", "--steps", "4"];
    let with = |name: &str, value: &str| {
        let output = command(folder.path(), &info).env(name, value).output();
        output.expect("the program starts")
    };
    assert_eq!(with("FEWSTEP_DEVICE", "").status.code(), Some(0));
    assert_eq!(with("RAYON_NUM_THREADS", "2").status.code(), Some(0));
    assert_refused(&with("FEWSTEP_DEVICE", "abacus"), &["abacus"]);
    let many = with("RAYON_NUM_THREADS", "1000000");
    assert_refused(&many, &["RAYON_NUM_THREADS=1000000", "at most 1024"]);
}
