//! `fewstep data`, and what recipes say of images: those to leave out, and how they become squares.

mod tiny;
mod workspace;

use fewstep_data::ImageShape;
use fewstep_data::image::{Image, write_png};
use std::fs;
use std::path::Path;
use workspace::{TRAIN, Workspace, golden_path, stderr, write_pattern};

/// A folder of two classes with faults of every kind, and one class without images.
fn faulty(folder: &Path) {
    for number in 0..6 {
        let class = ["a", "b"][number % 2];
        write_pattern(
            &folder.join(format!("{class}/{number}.png")),
            number,
            [8, 8],
        );
    }
    fs::write(folder.join("a/broken.png"), "no image").expect("written");
    fs::write(folder.join("b/empty.jpg"), "").expect("written");
    write_pattern(&folder.join("b/large.png"), 9, [40, 50]);
    fs::create_dir(folder.join("c")).expect("made");
    fs::copy(folder.join("a/0.png"), folder.join("b/copy.png")).expect("copied");
}

#[test]
fn everything_that_is_wrong_is_said_and_can_be_left_out() {
    let workspace = Workspace::new();
    faulty(&workspace.path("set"));
    let limits = ["--set", "data.size=8", "--set", "data.max_pixels=1000"];
    let check = [&["data", "folder:set"][..], &limits, &["--list", "bad.txt"]].concat();
    let output = workspace.run(&check);
    let (out, said) = (String::from_utf8_lossy(&output.stdout), stderr(&output));
    assert_eq!(output.status.code(), Some(2), "{said}");
    for part in [
        "a/broken.png: ",
        "b/empty.jpg: ",
        "b/large.png: ",
        "50x40 pixels",
        "c: ",
        "a class without images",
        "7 examples can be used, 4 cannot",
        "a 3, b 4",
        "1 image is the same file as an earlier one, such as b/copy.png and a/0.png",
    ] {
        assert!(out.contains(part), "no `{part}` in: {out}");
    }
    assert!(said.contains("4 of 11 examples cannot be used"), "{said}");
    assert!(said.contains("data.skip=bad.txt"), "{said}");
    let list = fs::read_to_string(workspace.path("bad.txt")).expect("written");
    let names: Vec<&str> = list.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(names, ["c", "a/broken.png", "b/empty.jpg", "b/large.png"]);

    // What to do next keeps the settings: without them other images would be left out.
    let said = stderr(&workspace.run(&[&["data", "folder:set"][..], &limits].concat()));
    let next = "fewstep data folder:set --set data.size=8 --set data.max_pixels=1000 --list";
    assert!(said.contains(next), "{said}");

    fs::remove_dir(workspace.path("set/c")).expect("removed");
    let recipe = workspace.recipe("train.toml", TRAIN);
    let data = "data={kind=\"folder\", path=\"set\", size=8, max_pixels=1000}";
    let train = [
        "train",
        &recipe,
        "--out",
        "run",
        "--set",
        data,
        "--set",
        "updates=1",
    ];
    workspace.refuse(&train, &["broken.png"]);
    // A run among the images would become a class of them.
    for out in ["set", "set/run", "set/../set/a"] {
        let inside = ["train", &recipe, "--out", out, "--set", data];
        workspace.refuse(&inside, &["inside the images of set", "--out"]);
    }
    let skip = ["--set", "data.skip=bad.txt"];
    workspace.succeed(&[&train[..], &skip].concat());
    let (json, _) = workspace.succeed(&[&check[..6], &skip, &["--json"]].concat());
    let found: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(found["examples"], 7);
    let idx = [
        "train",
        &recipe,
        "--out",
        "idx",
        "--set",
        "data.skip=bad.txt",
    ];
    workspace.refuse(&idx, &["skip", "image files"]);
}

#[test]
fn captioned_sets_are_checked_in_every_layout() {
    let workspace = Workspace::new();
    let set = workspace.path("set");
    for number in 0..4 {
        write_pattern(&set.join(format!("{number}.png")), number, [16, 16]);
        fs::write(set.join(format!("{number}.txt")), "a cat").expect("written");
    }
    fs::write(set.join("1.txt"), " ").expect("written");
    fs::remove_file(set.join("2.txt")).expect("removed");
    fs::write(set.join("3.png"), "no image").expect("written");
    let tar = workspace.path("tar");
    fs::create_dir(&tar).expect("made");
    let mut shard = tar::Builder::new(fs::File::create(tar.join("0.tar")).expect("made"));
    for name in [
        "0.png", "0.txt", "1.png", "1.txt", "2.png", "3.png", "3.txt",
    ] {
        shard
            .append_path_with_name(set.join(name), name)
            .expect("added");
    }
    shard.finish().expect("whole");
    let lines = [
        "{\"file_name\": \"0.png\", \"text\": \"a\"}",
        "{\"file_name\"",
        "{\"file_name\": \"9.png\", \"text\": \"a\"}",
        "{\"file_name\": \"3.png\", \"text\": \"a\"}",
    ];
    let listed = workspace.path("listed");
    fs::create_dir(&listed).expect("made");
    for name in ["0.png", "3.png"] {
        fs::copy(set.join(name), listed.join(name)).expect("copied");
    }
    fs::write(listed.join("metadata.jsonl"), lines.join("\n")).expect("written");
    for (name, parts) in [
        ("set", ["1.png: ", "2.png: ", "3.png: "]),
        ("tar", ["0.tar:1: ", "0.tar:2: ", "0.tar:3: "]),
        ("listed", ["metadata.jsonl:line 2: ", "9.png: ", "3.png: "]),
    ] {
        let spec = format!("captioned:{name}");
        let list = format!("{name}.list");
        let output = workspace.run(&["data", &spec, "--list", &list]);
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(2), "{out}");
        for part in parts {
            assert!(out.contains(part), "no `{part}` in: {out}");
        }
        assert!(out.contains("1 example can be used, 3 cannot"), "{out}");
        let skip = format!("data.skip={list}");
        let (out, _) = workspace.succeed(&["data", &spec, "--set", &skip]);
        assert!(out.contains("1 example can be used, 0 cannot"), "{out}");
    }
    workspace.refuse(&["data", "captioned:nowhere"], &["nowhere"]);
    workspace.refuse(&["data", "zip:set"], &["zip", "captioned"]);
    let sample = "builtin:fashion-mnist-sample";
    let path = format!("data.path={sample}");
    let (out, _) = workspace.succeed(&["data", "idx:x", "--set", &path]);
    assert!(out.contains("6000 examples can be used"), "{out}");
}

/// Images of 4 by 8: black on the left, white on the right.
fn wide(file: &Path) {
    let shape = ImageShape {
        channels: 3,
        height: 4,
        width: 8,
    };
    let pixels = (0..shape.len()).map(|i| if i % 8 < 2 { 0 } else { 255 });
    fs::create_dir_all(file.parent().expect("a folder")).expect("made");
    write_png(
        file,
        &Image {
            shape,
            pixels: pixels.collect(),
        },
    )
    .expect("written");
}

/// How images become squares is part of the recipe, and of the names of cached latents.
#[test]
fn images_are_cropped_padded_or_stretched() {
    let workspace = Workspace::new();
    for number in 0..2 {
        wide(&workspace.path("set").join(format!("{number}.png")));
        fs::write(workspace.path("set").join(format!("{number}.txt")), "a cat").expect("written");
    }
    let recipe = format!(
        "seed = 1\nteacher = {:?}\nw = [0, 4]\n[data]\nkind = \"captioned\"\npath = {:?}\nsize = 16\n[guided]\nupdates = 1\n[guided.optim]\nbatch = 2\nlr = 1e-3\n",
        golden_path("sd1"),
        workspace.path("set")
    );
    let recipe = workspace.recipe("distill.toml", &recipe);
    for fit in ["crop", "pad", "stretch"] {
        let set = format!("data.fit={fit}");
        workspace.succeed(&["distill", &recipe, "--out", fit, "--set", &set]);
    }
    let cached = fs::read_dir(workspace.path("cache/fewstep")).expect("there");
    let names = cached.flatten().map(|entry| entry.file_name());
    let latents = names.filter(|name| name.to_string_lossy().starts_with("latents-"));
    assert_eq!(latents.count(), 3);
    // Without the key nothing changes.
    workspace.succeed(&["distill", &recipe, "--out", "default"]);
    let count = fs::read_dir(workspace.path("cache/fewstep"))
        .expect("there")
        .count();
    assert_eq!(count, 3);
    workspace.refuse(
        &["distill", &recipe, "--out", "x", "--set", "data.fit=squash"],
        &[
            "`data.fit = \"squash\"`",
            "\"crop\", \"pad\" or \"stretch\"",
        ],
    );
    let train = workspace.recipe("train.toml", TRAIN);
    workspace.refuse(
        &["train", &train, "--out", "x", "--set", "data.fit=pad"],
        &["fit", "image files"],
    );
    let (out, _) = workspace.succeed(&["data", &recipe, "--set", "data.fit=pad"]);
    assert!(
        out.contains("2 images are not square: `data.fit` is \"pad\""),
        "{out}"
    );
}

/// Columns that may hold labels are named where none is read, as `train` does.
#[test]
fn columns_that_may_hold_labels_are_told() {
    let workspace = Workspace::new();
    let seed = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../fuzz/seeds/parquet/whole-labelled"
    );
    // The same file with another name of its column.
    let mut bytes = fs::read(seed).expect("read");
    for start in 0..bytes.len() - 5 {
        if bytes[start..].starts_with(b"label") {
            bytes[start..start + 5].copy_from_slice(b"class");
        }
    }
    fs::write(workspace.path("set.parquet"), bytes).expect("written");
    let words = ["data", "parquet:set.parquet"];
    let told = "`class` may hold labels: set `data.label`";
    let (_, said) = workspace.succeed(&words);
    assert!(said.contains(told), "{said}");
    let set = |set| workspace.succeed(&[&words[..], &["--set", set]].concat());
    assert!(!set("data.labels=false").1.contains(told));
    let (classes, said) = set("data.label=class");
    assert!(
        classes.contains("2 classes") && !said.contains(told),
        "{classes}{said}"
    );
}
