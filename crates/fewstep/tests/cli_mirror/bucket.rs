//! Mirrors in a bucket, whose server is slow, fails, or does not answer.

use super::object_server::Server;
use super::*;
use std::io::{BufRead, BufReader};

/// Where runs are mirrored.
const PLACE: &str = "s3://bucket/run";

/// What a server is asked for the contents of a file.
const SENDING: &str = "PUT /bucket/run/file-";

fn start(workspace: &Workspace, server: &Server, words: &[String]) -> Child {
    let mut command = workspace.command(&borrowed(words));
    server.used_by(&mut command);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().expect("the program starts")
}

/// What a program that ends well has said.
fn done(child: Child) -> String {
    let output = child.wait_with_output().expect("ends");
    assert!(output.status.success(), "{}", stderr(&output));
    stderr(&output)
}

fn wait_while(child: &mut Child, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while holds() {
        std::thread::sleep(Duration::from_millis(1));
        let ended = child.try_wait().expect("waits");
        assert!(ended.is_none(), "it ended too early");
        assert!(
            begun.elapsed() < Duration::from_secs(100),
            "it stands still"
        );
    }
}

/// How often a mirror was made whole.
fn manifests(server: &Server) -> usize {
    let state = server.state();
    let written = "PUT /bucket/run/mirror.json";
    let requests = state.requests.iter();
    requests.filter(|request| *request == written).count()
}

/// Checks that a bucket has all that its manifest names, as it was, and gives the samples that the
/// run in it has seen.
fn assert_whole(server: &Server) -> u64 {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, bytes) in &server.state().objects {
        let name = name.strip_prefix("bucket/run/").expect("of the mirror");
        std::fs::write(folder.path().join(name), bytes).expect("written");
    }
    super::assert_whole(folder.path());
    let manifest = manifest(folder.path()).expect("a manifest");
    manifest["clock"].as_u64().expect("a clock")
}

#[test]
fn a_run_goes_on_from_a_bucket_after_it_was_killed_in_the_middle_of_an_upload() {
    let (workspace, recipe, _) = workspace();
    let server = Server::start();
    server.state().fails_every = 7;
    let mut child = start(&workspace, &server, &words(&recipe, "first", PLACE, &[]));
    wait_while(&mut child, || manifests(&server) < 2);
    let before = {
        let mut state = server.state();
        state.holds = Some("PUT /bucket/run/file-");
        state.requests.len()
    };
    let is_sending = || {
        let state = server.state();
        let mut since = state.requests[before..].iter();
        since.any(|request| request.starts_with("PUT /bucket/run/file-"))
    };
    wait_while(&mut child, || !is_sending());
    child.kill().expect("killed");
    child.wait().expect("ended");
    server.state().holds = None;
    server.state().fails_every = 5;
    let resumed = words(&recipe, "second", PLACE, &["--resume"]);
    done(start(&workspace, &server, &resumed));
    assert_same_run(
        &workspace.path("alone"),
        &workspace.path("second"),
        &["teacher"],
    );
}

/// A server that answers nothing stops no update: the run gets to its end, and only waits there.
#[test]
fn updates_do_not_wait_for_a_mirror() {
    let (workspace, recipe, _) = workspace();
    let server = Server::start();
    server.state().holds = Some(SENDING);
    let run = words(&recipe, "run", PLACE, &[]);
    let mut child = start(&workspace, &server, &run);
    let model = workspace.path("run/models/teacher");
    let last = workspace.path("run/checkpoints/000000000320-001");
    wait_while(&mut child, || !model.exists() || !last.exists());
    assert_eq!(manifests(&server), 0);
    // What is sent is still there, though the run has removed it.
    assert!(workspace.path("run/.mirror/checkpoints").exists());
    // It waits, and is not done while the bucket has nothing.
    std::thread::sleep(Duration::from_millis(100));
    assert!(child.try_wait().expect("waits").is_none(), "it has ended");
    server.state().holds = None;
    let said = done(child);
    assert!(said.contains("waiting until the mirror s3://"), "{said}");
    assert_eq!(assert_whole(&server), 40 * 8);
    assert!(!workspace.path("run/.mirror").exists());
    let there = words(&recipe, "there", PLACE, &["--resume"]);
    done(start(&workspace, &server, &there));
    let [alone, run, there] = ["alone", "run", "there"].map(|name| workspace.path(name));
    assert_same_run(&alone, &run, &["teacher"]);
    assert_same_run(&alone, &there, &["teacher"]);
}

/// What fails while the run goes on is heard then, and made good by a later checkpoint.
#[test]
fn a_copy_that_fails_is_heard_while_the_run_goes_on() {
    let (workspace, recipe, _) = workspace();
    let server = Server::start();
    let longer = ["--set", "updates=400"];
    let run = words(&recipe, "run", PLACE, &longer);
    let mut child = start(&workspace, &server, &run);
    wait_while(&mut child, || manifests(&server) < 1);
    let mut said = BufReader::new(child.stderr.take().expect("piped"));
    server.state().refuses = Some((403, "<Error><Message>Not yours</Message></Error>"));
    let mut line = String::new();
    while !line.contains("warning: the mirror s3://bucket/run is behind") {
        line.clear();
        let read = said.read_line(&mut line).expect("text");
        assert!(read > 0, "it ended without a word");
    }
    assert!(line.contains("Not yours"), "{line}");
    assert!(child.try_wait().expect("waits").is_none(), "it has ended");
    let before = manifests(&server);
    server.state().refuses = None;
    wait_while(&mut child, || manifests(&server) <= before);
    std::io::copy(&mut said, &mut std::io::sink()).expect("read");
    assert!(child.wait().expect("ended").success());
    assert_eq!(assert_whole(&server), 400 * 8);
}

/// The checkpoint of a stopped run is in the mirror when the process ends, however slow that is.
#[cfg(unix)]
#[test]
fn a_stopped_run_leaves_its_last_checkpoint_in_the_mirror() {
    let (workspace, recipe, _) = workspace();
    let server = Server::start();
    server.state().delays = Some((SENDING, Duration::from_millis(100)));
    let longer = ["--set", "updates=100000"];
    let mut child = start(&workspace, &server, &words(&recipe, "run", PLACE, &longer));
    wait_while(&mut child, || manifests(&server) < 1);
    // SAFETY: it sends a signal to a child that has not been waited for.
    assert_eq!(unsafe { libc::kill(child.id() as i32, libc::SIGTERM) }, 0);
    let output = child.wait_with_output().expect("ends");
    assert_eq!(output.status.code(), Some(143), "{}", stderr(&output));
    let saved = std::fs::read_dir(workspace.path("run/checkpoints")).expect("listed");
    let names = saved.flatten().map(|entry| entry.file_name());
    let newest = names.max().expect("a checkpoint");
    let clock = assert_whole(&server);
    assert_eq!(newest.to_string_lossy(), format!("{clock:012}-000"));
    // It goes on from there elsewhere.
    let updates = format!("updates={}", clock / 8 + 4);
    let more = ["--resume", "--set", &updates];
    done(start(
        &workspace,
        &server,
        &words(&recipe, "there", PLACE, &more),
    ));
    assert_eq!(assert_whole(&server), clock + 4 * 8);
}
