//! Sets in object storage, on a server that fails now and then. The oracle is the same set in a
//! folder: the runs must be the same.

use super::masks::{MASKS, assert_masked};
use super::object_server::{SECRET, Server};
use super::*;
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use std::process::Output;
use std::sync::Arc;

/// A tar of some of the captioned images.
fn tar(workspace: &Workspace, images: std::ops::Range<usize>) -> Vec<u8> {
    let mut tar = tar::Builder::new(vec![]);
    for name in images.flat_map(|image| [format!("{image}.png"), format!("{image}.txt")]) {
        let file = workspace.path("captioned").join(&name);
        tar.append_path_with_name(file, &name).expect("added");
    }
    tar.into_inner().expect("whole")
}

/// Puts tars of the captioned images into a bucket and into a folder.
fn tars(workspace: &Workspace, server: &Server) {
    std::fs::create_dir(workspace.path("tars")).expect("made");
    for (name, images) in [("a.tar", 0..4), ("b.tar", 4..7), ("c.tar", 7..10)] {
        let bytes = tar(workspace, images);
        std::fs::write(workspace.path("tars").join(name), &bytes).expect("written");
        let name = format!("bucket/set/{name}");
        server.state().objects.insert(name, bytes);
    }
}

/// A recipe of few updates on this set.
fn distill(workspace: &Workspace, set: &str) -> String {
    let text = DISTILL.replace("CAPTIONED", set);
    recipe(workspace, "distill.toml", &text, "sd1")
}

fn run(workspace: &Workspace, server: &Server, words: &[&str]) -> Output {
    let mut command = workspace.command(words);
    server.used_by(&mut command);
    let output = command.output().expect("the program starts");
    assert!(!stderr(&output).contains(SECRET), "{}", stderr(&output));
    output
}

fn done(workspace: &Workspace, server: &Server, words: &[&str]) {
    let output = run(workspace, server, words);
    assert!(output.status.success(), "{words:?}: {}", stderr(&output));
}

fn refused(workspace: &Workspace, server: &Server, words: &[&str], parts: &[&str]) {
    let output = run(workspace, server, words);
    workspace::assert_refused(&output, parts);
}

fn assert_same_weights(workspace: &Workspace, a: &str, b: &str) {
    for model in ["guided", "steps-2", "steps-1"] {
        let [a, b] = [a, b].map(|run| weights(&workspace.path(run), model));
        assert!(a == b, "{model}");
    }
}

/// The objects of the set that were asked for.
fn read(server: &Server) -> Vec<String> {
    let mut state = server.state();
    let requests = state.requests.drain(..);
    let mut names: Vec<String> = requests
        .filter_map(|request| Some(request.strip_prefix("GET /bucket/set/")?.to_string()))
        .filter(|name| !name.is_empty())
        .collect();
    names.sort();
    names.dedup();
    names
}

#[test]
fn captioned_tars_in_a_bucket_train_as_those_in_a_folder() {
    let (workspace, server) = (workspace(), Server::start());
    tars(&workspace, &server);
    server.state().fails_every = 5;
    let here = distill(&workspace, &workspace.path("tars").display().to_string());
    workspace.succeed(&["distill", &here, "--out", "here"]);
    let there = distill(&workspace, "s3://bucket/set");
    done(&workspace, &server, &["distill", &there, "--out", "there"]);
    assert_same_weights(&workspace, "here", "there");
    assert_eq!(read(&server), ["a.tar", "b.tar", "c.tar"]);

    // The latents are there: nothing of the set is read again, until something of it changes.
    done(&workspace, &server, &["distill", &there, "--out", "again"]);
    assert_same_weights(&workspace, "there", "again");
    assert_eq!(read(&server), [""; 0]);
    std::fs::write(workspace.path("captioned/5.txt"), "a horse").expect("written");
    let changed = tar(&workspace, 4..7);
    server
        .state()
        .objects
        .insert("bucket/set/b.tar".into(), changed);
    done(&workspace, &server, &["distill", &there, "--out", "other"]);
    assert_eq!(read(&server), ["b.tar"]);
    let [other, again] = ["other", "again"].map(|run| weights(&workspace.path(run), "guided"));
    assert!(other != again);
    // A run does not go on with another set.
    let resume = ["distill", &there, "--out", "again", "--resume"];
    refused(&workspace, &server, &resume, &["the data has changed"]);

    // One tar is a set too.
    let one = distill(&workspace, "s3://bucket/set/a.tar");
    let plan = ["distill", &one, "--out", "one", "--set", "guided.updates=1"];
    done(&workspace, &server, &plan);
    assert_eq!(read(&server), [""; 0]);
}

#[test]
fn latents_in_a_bucket_serve_other_machines() {
    let (workspace, server) = (workspace(), Server::start());
    tars(&workspace, &server);
    server.state().fails_every = 5;
    let recipe = distill(&workspace, "s3://bucket/set");
    let cache = ["--set", "data.cache=s3://bucket/latents"];
    let words = [&["distill", &recipe, "--out", "first"][..], &cache].concat();
    done(&workspace, &server, &words);
    assert_eq!(server.names("bucket/latents/").len(), 3);
    assert_eq!(read(&server), ["a.tar", "b.tar", "c.tar"]);
    // Another machine lacks one of them, which anyone can make again.
    std::fs::remove_dir_all(workspace.path("cache")).expect("removed");
    let lost = server.names("bucket/latents/")[1].clone();
    let before = server.state().objects.remove(&lost);
    let words = [&["distill", &recipe, "--out", "second"][..], &cache].concat();
    done(&workspace, &server, &words);
    assert_same_weights(&workspace, "first", "second");
    assert_eq!(read(&server).len(), 1);
    assert!(server.state().objects.get(&lost) == before.as_ref());
    // It may go on with another cache.
    let resume = ["distill", &recipe, "--out", "second", "--resume"];
    done(&workspace, &server, &resume);
}

/// The classes of a tiny model.
const CLASSES: [&str; 4] = ["tench", "goldfish", "shark", "ray"];

/// A recipe of few updates on a labelled set of this kind.
fn of_classes(workspace: &Workspace, kind: &str, set: &str) -> String {
    let text = DISTILL
        .replace("kind = \"captioned\"", &format!("kind = \"{kind}\""))
        .replace("CAPTIONED", set)
        .replace("prompts = [\"a cat\"]\n", "");
    recipe(workspace, "distill.toml", &text, "classes")
}

#[test]
fn labelled_folders_in_a_bucket_train_as_those_here() {
    let (workspace, server) = (Workspace::new(), Server::start());
    for image in 0..8 {
        let class = CLASSES[image % 4];
        let name = format!("{class}/{image}.png");
        let file = workspace.path("labelled").join(&name);
        write_pattern(&file, image, [16, 16]);
        let bytes = std::fs::read(&file).expect("there");
        server
            .state()
            .objects
            .insert(format!("bucket/set/train/{name}"), bytes);
    }
    let here = of_classes(
        &workspace,
        "folder",
        &workspace.path("labelled").display().to_string(),
    );
    workspace.succeed(&["distill", &here, "--out", "here"]);
    server.state().fails_every = 5;
    let there = of_classes(&workspace, "folder", "s3://bucket/set");
    done(&workspace, &server, &["distill", &there, "--out", "there"]);
    assert_same_weights(&workspace, "here", "there");
    // For other classes, and without them.
    let renamed = ["--set", "data.class_names=[\"a\", \"b\", \"c\", \"d\"]"];
    let words = [&["distill", &there, "--out", "x"][..], &renamed].concat();
    refused(&workspace, &server, &words, &["s3://bucket/set", "classes"]);
}

/// A limit keeps the images that it keeps in a folder, and only these are fetched.
#[test]
fn a_limit_fetches_fewer_images_of_classes() {
    let (workspace, server) = (Workspace::new(), Server::start());
    for image in 0..8 {
        let name = format!("{}/{image}.png", CLASSES[image % 4]);
        let file = workspace.path("labelled").join(&name);
        write_pattern(&file, image, [16, 16]);
        let bytes = std::fs::read(&file).expect("there");
        let mut state = server.state();
        state.objects.insert(format!("bucket/set/{name}"), bytes);
    }
    let limited = |set: &str| {
        let recipe = of_classes(&workspace, "folder", set);
        let limit = "[data]\nlimit = 5";
        let text = std::fs::read_to_string(&recipe).expect("there");
        std::fs::write(&recipe, text.replace("[data]", limit)).expect("written");
        recipe
    };
    let here = limited(&workspace.path("labelled").display().to_string());
    workspace.succeed(&["distill", &here, "--out", "here"]);
    let there = limited("s3://bucket/set");
    done(&workspace, &server, &["distill", &there, "--out", "there"]);
    assert_same_weights(&workspace, "here", "there");
    assert_eq!(read(&server).len(), 5);
}

/// Parquet files whose labels are names, none of which has all classes.
#[test]
fn labelled_parquet_in_a_bucket_trains_as_that_here() {
    let (workspace, server) = (Workspace::new(), Server::start());
    let folder = workspace.path("labelled");
    std::fs::create_dir(&folder).expect("made");
    for (number, images) in [0..3, 3..8].into_iter().enumerate() {
        let name = format!("train-0000{number}-of-00002.parquet");
        let rows = images.map(|image| {
            let file = workspace.path(&format!("{image}.png"));
            write_pattern(&file, image, [16, 16]);
            let bytes = std::fs::read(&file).expect("there");
            (bytes, CLASSES[image % 4].as_bytes().to_vec())
        });
        let bytes = parquet(&rows.collect::<Vec<_>>());
        std::fs::write(folder.join(&name), &bytes).expect("written");
        let mut state = server.state();
        state.objects.insert(format!("bucket/set/{name}"), bytes);
    }
    let here = of_classes(&workspace, "parquet", &folder.display().to_string());
    workspace.succeed(&["distill", &here, "--out", "here"]);
    server.state().fails_every = 5;
    let there = of_classes(&workspace, "parquet", "s3://bucket/set");
    done(&workspace, &server, &["distill", &there, "--out", "there"]);
    assert_same_weights(&workspace, "here", "there");
    let words = ["distill", &there, "--out", "x", "--set", "data.limit=3"];
    refused(&workspace, &server, &words, &["limit = 3", "not counted"]);
    // A run does not go on with the same set elsewhere, and the reason is said.
    let words = ["distill", &there, "--out", "here", "--resume"];
    refused(&workspace, &server, &words, &["in object storage have two"]);
}

/// A parquet file of images with the names of their classes.
fn parquet(rows: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let schema = "message schema { required binary image; required binary label (UTF8); }";
    let schema = parse_message_type(schema).expect("a schema");
    let mut bytes = vec![];
    let writer = SerializedFileWriter::new(&mut bytes, schema.into(), Arc::default());
    let mut writer = writer.expect("a file");
    let mut group = writer.next_row_group().expect("a group");
    let columns: [Vec<ByteArray>; 2] = [
        rows.iter().map(|row| row.0.clone().into()).collect(),
        rows.iter().map(|row| row.1.clone().into()).collect(),
    ];
    for values in columns {
        let column = group.next_column().expect("written");
        let mut column = column.expect("a column");
        let typed = column.typed::<ByteArrayType>();
        typed.write_batch(&values, None, None).expect("written");
        column.close().expect("written");
    }
    group.close().expect("written");
    writer.close().expect("written");
    bytes
}

/// Masks have numbers that follow from the shard, so that each can be made without the others.
#[test]
fn an_inpainting_model_trains_on_a_set_in_a_bucket() {
    let (workspace, server) = (workspace(), Server::start());
    tars(&workspace, &server);
    server.state().fails_every = 5;
    let text = format!("{DISTILL}{MASKS}").replace("CAPTIONED", "s3://bucket/set");
    let recipe = recipe(&workspace, "distill.toml", &text, "inpaint");
    done(&workspace, &server, &["distill", &recipe, "--out", "one"]);
    let caches = caches(&workspace);
    assert_eq!(caches.len(), 3);
    let mut first_masks = vec![];
    for cache in &caches {
        let name = cache.file_name().expect("a name").to_string_lossy();
        let identity = name.strip_prefix("latents-").expect("its name");
        let first = u64::from_str_radix(&identity[..16], 16).expect("a number");
        if tensors(cache)["concat"].0[0] == 4 {
            assert_masked(&workspace, cache, 0..4, first);
        }
        first_masks.push(first);
    }
    first_masks.dedup();
    assert_eq!(first_masks.len(), 3);
    // Another machine makes the same ones.
    std::fs::remove_dir_all(workspace.path("cache")).expect("removed");
    done(&workspace, &server, &["distill", &recipe, "--out", "two"]);
    assert_same_weights(&workspace, "one", "two");
}

#[test]
fn what_is_wrong_with_a_set_is_said_with_its_address() {
    let (workspace, server) = (workspace(), Server::start());
    tars(&workspace, &server);
    let recipe = distill(&workspace, "s3://bucket/set");
    let refuse = |set: &[&str], parts: &[&str]| {
        let sets: Vec<&str> = set.iter().flat_map(|set| ["--set", set]).collect();
        let words = [&["distill", &recipe, "--out", "run"][..], &sets].concat();
        refused(&workspace, &server, &words, parts);
    };
    refuse(
        &["data.path=s3://bucket/none"],
        &["nothing in s3://bucket/none"],
    );
    refuse(&["data.limit=3"], &["limit = 3", "not counted"]);
    refuse(&["data.kind=idx"], &["kind", "captioned"]);
    refuse(&["data.split=test"], &["s3://bucket/set", "split"]);
    refuse(
        &["condition={kind = \"bicubic\", factor = 2}"],
        &["[condition]", "object storage"],
    );
    // A shard with an image that cannot be read; the one before it is kept.
    std::fs::write(workspace.path("captioned/5.png"), "no image").expect("written");
    let (good, bad) = (tar(&workspace, 7..10), tar(&workspace, 4..7));
    server
        .state()
        .objects
        .insert("bucket/set/b.tar".into(), bad);
    refuse(&[], &["s3://bucket/set/b.tar", "sample 2"]);
    read(&server);
    server
        .state()
        .objects
        .insert("bucket/set/b.tar".into(), good);
    done(&workspace, &server, &["distill", &recipe, "--out", "run"]);
    assert_eq!(read(&server), ["b.tar", "c.tar"]);
    // Latents of images on this machine.
    let here = distill(
        &workspace,
        &workspace.path("captioned").display().to_string(),
    );
    let words = [
        "distill",
        &here,
        "--out",
        "y",
        "--set",
        "data.cache=s3://bucket/latents",
    ];
    refused(&workspace, &server, &words, &["data.cache", "in a folder"]);
}

/// Sets of pixel models are in memory, so they are copied whole.
#[test]
fn a_pixel_model_trains_on_a_set_in_a_bucket() {
    let (workspace, server) = (Workspace::new(), Server::start());
    for entry in std::fs::read_dir(workspace.path("data"))
        .expect("listed")
        .flatten()
    {
        let bytes = std::fs::read(entry.path()).expect("there");
        let name = entry.file_name().into_string().expect("text");
        server
            .state()
            .objects
            .insert(format!("bucket/set/{name}"), bytes);
    }
    let few = ["--set", "updates=4"];
    let recipe = workspace.recipe("train.toml", workspace::TRAIN);
    workspace.succeed(&[&["train", &recipe, "--out", "here"][..], &few].concat());
    server.state().fails_every = 4;
    let set = ["--set", "data.path=s3://bucket/set"];
    done(
        &workspace,
        &server,
        &[&["train", &recipe, "--out", "there"][..], &few, &set].concat(),
    );
    let [here, there] = ["here", "there"].map(|run| weights(&workspace.path(run), "teacher"));
    assert!(here == there);
}
