//! Shards in object storage, through the real program and a server that fails now and then.
#![cfg(feature = "storage")]

mod object_server;
mod tiny;
mod workspace;

use fewstep_diffusion::DistilledFor;
use object_server::{SECRET, Server};
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use tiny::{remade, save, student, write_image};
use workspace::{command, stderr, succeed};

const SAMPLE: [&str; 5] = ["sample", "--model", "student", "--count", "11"];

/// A folder with a student of 32x32 images in two classes, and real images of these classes.
fn workspace() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let model = student(DistilledFor::Deterministic, Some(2));
    let model = remade(&model, 4, [1, 32, 32], &["a", "b"]);
    save(&model, folder.path(), "student");
    for kind in 0..12 {
        let class = ["a", "b"][kind % 2];
        let file = folder.path().join(format!("real/{class}/{kind}.png"));
        write_image(&file, 32, kind);
    }
    folder
}

fn run(folder: &Path, server: &Server, words: &[&str]) -> Output {
    let mut command = command(folder, words);
    server.used_by(&mut command);
    command.output().expect("the program starts")
}

fn done(folder: &Path, server: &Server, words: &[&str]) -> String {
    let output = run(folder, server, words);
    assert!(output.status.success(), "{words:?}: {}", stderr(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs the program, which must fail with this code and say these parts, and no secret.
fn fails(folder: &Path, server: &Server, words: &[&str], code: i32, parts: &[&str]) {
    let output = run(folder, server, words);
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{words:?}: {message}");
    for part in parts {
        assert!(message.contains(part), "no `{part}` in: {message}");
    }
    assert!(!message.contains(SECRET), "{message}");
}

#[test]
fn images_of_shards_in_a_bucket_are_those_of_one_process() {
    let folder = workspace();
    let (folder, server) = (folder.path(), Server::start());
    let set = "s3://bucket/sets/one";
    server.state().fails_every = 4;
    for shard in ["1/3", "2/3", "0/3", "1/3"] {
        done(
            folder,
            &server,
            &[&SAMPLE[..], &["--shard", shard, "--out", set]].concat(),
        );
    }
    let said = done(folder, &server, &["merge", set, "--out", "copied"]);
    assert!(said.contains("copied: 11 images of 3 shards"), "{said}");
    succeed(folder, &[&SAMPLE[..], &["--out-dir", "alone"]].concat());
    for number in 0..11 {
        let bytes = |place: &str| std::fs::read(folder.join(format!("{place}/{number:06}.png")));
        assert!(
            bytes("copied").expect("there") == bytes("alone").expect("there"),
            "{number}"
        );
    }
    // In place, and from one bucket to another.
    let said = done(folder, &server, &["merge", &format!("{set}/")]);
    assert!(said.contains("11 images of 3 shards"), "{said}");
    assert!(
        server
            .names("bucket/")
            .contains(&"bucket/sets/one/set.json".into())
    );
    done(folder, &server, &["merge", set, "--out", "s3://other/set"]);
    assert_eq!(server.names("other/").len(), 12);
}

#[test]
fn a_shard_that_is_killed_is_not_there_and_can_be_run_again() {
    let folder = workspace();
    let (folder, server) = (folder.path(), Server::start());
    let shard = |index: usize| {
        let shard = format!("{index}/4");
        let words = [
            &SAMPLE[..],
            &["--shard", &shard, "--out", "s3://bucket/set"],
        ]
        .concat();
        let mut command = command(folder, &words);
        server.used_by(&mut command);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    for index in [0, 1, 3] {
        assert!(shard(index).status().expect("runs").success());
    }
    // Its images are there, and what says that it is complete is on its way.
    server.state().holds = Some("shard-00002-of-00004.json");
    let mut child = shard(2).spawn().expect("starts");
    let is_asked = || {
        let state = server.state();
        let last = state.requests.last();
        last.is_some_and(|request| {
            request.starts_with("PUT") && request.ends_with("shard-00002-of-00004.json")
        })
    };
    while !is_asked() {
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().expect("killed");
    child.wait().expect("ended");
    server.state().holds = None;
    let merge = ["merge", "s3://bucket/set"];
    fails(
        folder,
        &server,
        &merge,
        2,
        &["1 of 4 shards are missing: 2"],
    );
    assert!(shard(2).status().expect("runs").success());
    done(folder, &server, &merge);
    // An image that is gone, or another.
    let name = "bucket/set/000004.png";
    let image = server
        .state()
        .objects
        .insert(name.into(), vec![1])
        .expect("was there");
    fails(
        folder,
        &server,
        &merge,
        2,
        &["s3://bucket/set/000004.png is not the image that shard 1/4 wrote"],
    );
    server.state().objects.remove(name);
    fails(
        folder,
        &server,
        &merge,
        2,
        &[
            "shard 1/4 is not whole",
            "there is no s3://bucket/set/000004.png",
        ],
    );
    server.state().objects.insert(name.into(), image);
    done(folder, &server, &merge);
}

#[test]
fn metrics_of_shards_in_a_bucket_are_those_of_shards_in_a_folder() {
    let folder = workspace();
    let (folder, server) = (folder.path(), Server::start());
    let eval = [
        "eval", "--model", "student", "--data", "real", "--count", "14", "--steps", "1,2",
        "--quiet",
    ];
    for shard in ["0/2", "1/2"] {
        for place in ["s3://bucket/eval", "eval"] {
            done(
                folder,
                &server,
                &[&eval[..], &["--shard", shard, "--out", place]].concat(),
            );
        }
    }
    let before = server.state().requests.len();
    let rows = |place: &str| {
        done(folder, &server, &["merge", place, "--out", "rows.json"]);
        let text = std::fs::read_to_string(folder.join("rows.json")).expect("written");
        let mut rows: serde_json::Value = serde_json::from_str(&text).expect("rows");
        for row in rows.as_array_mut().expect("rows") {
            row["seconds_per_image"] = serde_json::Value::Null;
        }
        rows
    };
    assert_eq!(rows("s3://bucket/eval"), rows("eval"));
    let state = server.state();
    let reads = state.requests[before..]
        .iter()
        .filter(|request| request.ends_with(".safetensors"));
    assert_eq!(reads.count(), 2, "each shard is read once");
}

#[test]
fn faults_of_stores_are_told_in_plain_words() {
    let folder = workspace();
    let (folder, server) = (folder.path(), Server::start());
    let words = [&SAMPLE[..], &["--shard", "0/2", "--out", "s3://bucket/set"]].concat();
    let denied = "<Error><Code>SignatureDoesNotMatch</Code><Message>The signature does not match.</Message></Error>";
    server.state().refuses = Some((403, denied));
    let parts = [
        "cannot write s3://bucket/set/00000",
        "access is refused (The signature does not match)",
        "AWS_ACCESS_KEY_ID",
    ];
    fails(folder, &server, &words, 2, &parts);
    let merge = ["merge", "s3://bucket/set"];
    fails(
        folder,
        &server,
        &merge,
        2,
        &["cannot list s3://bucket/set", "access is refused"],
    );
    server.state().refuses = Some((
        404,
        "<Error><Code>NoSuchBucket</Code><Message>The bucket is not there</Message></Error>",
    ));
    fails(
        folder,
        &server,
        &words,
        2,
        &["The bucket is not there", "make the bucket first"],
    );
    // A store that stays away, with one try more. Images that a refused program had already sent
    // may still arrive, so only lists are counted.
    let lists = || {
        let state = server.state();
        let asked = state.requests.iter().filter(|one| one.starts_with("GET "));
        asked.count()
    };
    server.state().refuses = Some((500, "down"));
    let before = lists();
    let mut command = command(folder, &merge);
    server.used_by(&mut command);
    let output = command
        .env("FEWSTEP_STORAGE_RETRIES", "1")
        .output()
        .expect("runs");
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(
        message.contains("cannot list s3://bucket/set") && message.contains("tried again"),
        "{message}"
    );
    assert_eq!(lists(), before + 2);
    server.state().refuses = None;
    fails(
        folder,
        &server,
        &merge,
        2,
        &["no shard is in s3://bucket/set"],
    );
}
