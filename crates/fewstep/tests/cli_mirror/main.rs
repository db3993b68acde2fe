//! Runs that are mirrored elsewhere and go on from there, through the real program.

#[cfg(feature = "storage")]
mod bucket;
#[cfg(feature = "storage")]
#[path = "../object_server/mod.rs"]
mod object_server;
#[path = "../workspace/mod.rs"]
mod workspace;

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use workspace::{TRAIN, Workspace, assert_same_run, stderr, write_idx};

/// Words that train into a folder with this mirror.
fn words(recipe: &str, out: &str, mirror: &str, more: &[&str]) -> Vec<String> {
    let mirror = format!("run.mirror={mirror}");
    let words = ["train", recipe, "--out", out, "--set", &mirror];
    words.iter().chain(more).map(ToString::to_string).collect()
}

fn borrowed(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

/// A workspace, its recipe, and the address of a folder for mirrors in it. The run without a mirror
/// is in `alone`.
fn workspace() -> (Workspace, String, String) {
    let workspace = Workspace::new();
    let recipe = workspace.recipe("train.toml", TRAIN);
    workspace.succeed(&["train", &recipe, "--out", "alone"]);
    let mirror = format!("file://{}", workspace.path("mirror").display());
    (workspace, recipe, mirror)
}

/// The manifest of a mirror that is a folder; none before there is one.
fn manifest(mirror: &Path) -> Option<Value> {
    let text = std::fs::read_to_string(mirror.join("mirror.json")).ok()?;
    Some(serde_json::from_str(&text).expect("a whole manifest"))
}

/// Checks that a mirror has all that its manifest names, as it was.
fn assert_whole(mirror: &Path) {
    use sha2::{Digest, Sha256};
    let manifest = manifest(mirror).expect("a manifest");
    for (name, contents) in manifest["files"].as_object().expect("files") {
        let hash = contents["sha256"].as_str().expect("a hash");
        let bytes = std::fs::read(mirror.join(format!("file-{hash}"))).expect(name);
        assert_eq!(format!("{:x}", Sha256::digest(bytes)), hash, "{name}");
    }
}

/// The files of a run: what is kept of it.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(folder: &Path, inside: &str, files: &mut BTreeMap<String, Vec<u8>>) {
        for entry in std::fs::read_dir(folder).expect("listed").flatten() {
            let name = format!("{inside}{}", entry.file_name().to_string_lossy());
            match entry.path().is_dir() {
                true => walk(&entry.path(), &format!("{name}/"), files),
                false => drop(files.insert(name, std::fs::read(entry.path()).expect("read"))),
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(folder, "", &mut found);
    found
}

#[test]
fn a_mirror_is_the_run_as_it_is() {
    let (workspace, recipe, mirror) = workspace();
    let run = words(&recipe, "run", &mirror, &[]);
    workspace.succeed(&borrowed(&run));
    assert_same_run(
        &workspace.path("alone"),
        &workspace.path("run"),
        &["teacher"],
    );
    let (place, run) = (workspace.path("mirror"), workspace.path("run"));
    assert_whole(&place);
    // Nothing but what is needed.
    let named = manifest(&place).expect("there")["files"]
        .as_object()
        .expect("files")
        .len();
    let mut hashes: Vec<String> = vec![];
    for entry in std::fs::read_dir(&place).expect("listed").flatten() {
        hashes.push(entry.file_name().to_string_lossy().into_owned());
    }
    assert!(hashes.len() <= named + 1, "{hashes:?}");
    // On another machine a run that is done is fetched, and nothing is done again.
    let there = words(&recipe, "there", &mirror, &["--resume"]);
    let (_, said) = workspace.succeed(&borrowed(&there));
    assert!(said.contains("fetching the run from file://"), "{said}");
    let (mut here, mut there) = (files(&run), files(&workspace.path("there")));
    // Opening the log begins a file of events.
    here.retain(|name, _| !name.contains("tfevents"));
    there.retain(|name, _| !name.contains("tfevents"));
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&here), names(&there));
    assert!(here == there);
    // More updates go on from there.
    let more = words(
        &recipe,
        "more",
        &mirror,
        &["--resume", "--set", "updates=44"],
    );
    workspace.succeed(&borrowed(&more));
    let clock = manifest(&place).expect("there")["clock"].as_u64();
    assert_eq!(clock, Some(44 * 8));
}

fn start(workspace: &Workspace, words: &[String]) -> Child {
    let mut command = workspace.command(&borrowed(words));
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("the program starts")
}

/// A machine after the other, each killed while it copies or fetches, or at any other moment.
#[test]
fn a_run_goes_on_from_its_mirror_however_machines_are_lost() {
    let (workspace, recipe, mirror) = workspace();
    let place = workspace.path("mirror");
    let mut wait = Duration::from_millis(30);
    for machine in 0..200 {
        let out = format!("machine-{machine}");
        let resume: &[&str] = if manifest(&place).is_some() {
            &["--resume"]
        } else {
            &[]
        };
        let mut child = start(&workspace, &words(&recipe, &out, &mirror, resume));
        let begun = Instant::now();
        let files = || std::fs::read_dir(&place).map_or(0, |entries| entries.count());
        let before = files();
        let status = loop {
            // Every other time in the middle of copying, as files arrive in the mirror.
            let copies = machine % 2 == 0 && files() > before;
            if begun.elapsed() > wait && (copies || machine % 2 == 1) {
                child.kill().expect("killed");
                child.wait().expect("ended");
                break None;
            }
            if let Some(status) = child.try_wait().expect("waits") {
                break Some(status);
            }
        };
        if manifest(&place).is_some() {
            assert_whole(&place);
        }
        if let Some(status) = status {
            assert!(
                status.success(),
                "a run that went on from its mirror failed"
            );
            assert_same_run(
                &workspace.path("alone"),
                &workspace.path(&out),
                &["teacher"],
            );
            assert!(machine > 3, "only {machine} machines were lost");
            return;
        }
        wait += Duration::from_millis(19) + wait / 16;
    }
    panic!("the run never ended");
}

#[test]
fn a_mirror_of_something_else_is_refused() {
    let (workspace, recipe, mirror) = workspace();
    let refuse = |words: &[String], parts: &[&str]| workspace.refuse(&borrowed(words), parts);
    let resume = ["--resume"];
    refuse(
        &words(&recipe, "run", &mirror, &resume),
        &["no run to continue in run", "nor in its mirror"],
    );
    assert!(!workspace.path("run").exists());
    workspace.succeed(&borrowed(&words(
        &recipe,
        "run",
        &mirror,
        &["--set", "updates=8"],
    )));
    refuse(
        &words(&recipe, "new", &mirror, &[]),
        &["holds the mirror of a run"],
    );
    // Another run.
    write_idx(&workspace.path("data"), 38, 38);
    workspace.succeed(&["train", &recipe, "--out", "other", "--set", "updates=8"]);
    refuse(
        &words(&recipe, "other", &mirror, &resume),
        &["the mirror of another run than the one in other"],
    );
    write_idx(&workspace.path("data"), 40, 40);
    // The same run, which went on elsewhere.
    let longer = ["--resume", "--set", "updates=12"];
    workspace.succeed(&borrowed(&words(&recipe, "elsewhere", &mirror, &longer)));
    refuse(
        &words(&recipe, "run", &mirror, &longer),
        &["has seen 64 samples", "96: it went on elsewhere"],
    );
    // A folder with something in it, and a mirror inside the run.
    std::fs::create_dir(workspace.path("full")).expect("made");
    std::fs::write(workspace.path("full/notes.txt"), "mine").expect("written");
    refuse(
        &words(&recipe, "full", &mirror, &resume),
        &["full is not empty", "notes.txt"],
    );
    refuse(
        &words(&recipe, "a", "a/mirror", &[]),
        &["is inside the run's folder"],
    );
    // Damage.
    let place = workspace.path("mirror");
    let manifest = manifest(&place).expect("there");
    let hash = manifest["files"]["inputs.toml"]["sha256"]
        .as_str()
        .expect("a hash");
    let file = place.join(format!("file-{hash}"));
    let bytes = std::fs::read(&file).expect("there");
    std::fs::write(&file, "other").expect("written");
    refuse(
        &words(&recipe, "b", &mirror, &resume),
        &[&format!("file-{hash} is damaged")],
    );
    std::fs::remove_file(&file).expect("removed");
    refuse(
        &words(&recipe, "b", &mirror, &resume),
        &["there is no", &format!("file-{hash}")],
    );
    // What was fetched before is used.
    std::fs::write(&file, bytes).expect("written");
    workspace.succeed(&borrowed(&words(&recipe, "b", &mirror, &longer)));
    std::fs::write(place.join("mirror.json"), "{}").expect("written");
    refuse(
        &words(&recipe, "c", &mirror, &resume),
        &["mirror.json is no mirror of a run, or damaged"],
    );
    let secret = "s3://me:hunter2@bucket/run";
    refuse(
        &words(&recipe, "d", secret, &[]),
        &["run.mirror", "environment variables"],
    );
    refuse(
        &words(&recipe, "s3://bucket/run", &mirror, &[]),
        &["`run.mirror` keeps a copy"],
    );
    #[cfg(not(feature = "storage"))]
    refuse(
        &words(&recipe, "e", "s3://bucket/run", &[]),
        &["built without object storage", "--features storage"],
    );
}

/// The run itself is not stopped by it.
#[test]
fn a_mirror_that_cannot_be_written_is_said_to_be_behind() {
    let (workspace, recipe, _) = workspace();
    std::fs::write(workspace.path("file"), "").expect("written");
    let nowhere = format!("file://{}/mirror", workspace.path("file").display());
    let run = words(&recipe, "run", &nowhere, &[]);
    let output = workspace.run(&borrowed(&run));
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("warning: the mirror file://"), "{said}");
    assert!(
        said.contains("error: the run is whole in run, and its mirror"),
        "{said}"
    );
    assert_same_run(
        &workspace.path("alone"),
        &workspace.path("run"),
        &["teacher"],
    );
    // Once it can be.
    std::fs::remove_file(workspace.path("file")).expect("removed");
    let resumed = words(&recipe, "run", &nowhere, &["--resume"]);
    workspace.succeed(&borrowed(&resumed));
    assert_whole(&workspace.path("file/mirror"));
}
