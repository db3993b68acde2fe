//! Data that are not what they seem, through the real program: what cannot be meant is refused by
//! name, and what is left out is told.

mod workspace;

use fewstep_data::ImageShape;
use fewstep_data::image::{Image, encode_png, write_png};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use workspace::{TRAIN, Workspace, copy, golden, golden_path, stderr, write_pattern};

const DISTILL: &str = r#"
seed = 3
teacher = "MODEL"
w = [2, 14]
[data]
kind = "captioned"
path = "set"
size = 16
[progressive]
start_steps = 2
end_steps = 1
updates = 1
optim = { batch = 4, lr = 1e-3 }
[run]
log_every = 1
checkpoint_every = 2
"#;

fn image(value: u8) -> Vec<u8> {
    let shape = ImageShape {
        channels: 3,
        height: 16,
        width: 16,
    };
    encode_png(&Image::filled(shape, value)).expect("a PNG file")
}

/// A tar of examples with these names.
fn write_tar(path: &Path, names: &[&str]) {
    let mut tar = tar::Builder::new(File::create(path).expect("made"));
    for (value, name) in (10..).zip(names) {
        let bytes = match name.ends_with(".txt") {
            true => format!("image {value}").into_bytes(),
            false => image(value),
        };
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        // The crate writes no name that leads out of a folder.
        let raw = header.as_gnu_mut().expect("of this kind");
        raw.name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        tar.append(&header, &bytes[..]).expect("written");
    }
    tar.finish().expect("written");
}

/// A workspace with a folder `set`, and the recipe of a distillation that reads it.
fn workspace() -> (Workspace, String, PathBuf) {
    let workspace = Workspace::new();
    let set = workspace.path("set");
    fs::create_dir(&set).expect("made");
    let recipe = workspace.recipe(
        "distill.toml",
        &DISTILL.replace("MODEL", &golden_path("tiny")),
    );
    (workspace, recipe, set)
}

/// How many examples are in the cache of latents.
fn cached(workspace: &Workspace) -> usize {
    let mut files = fs::read_dir(workspace.path("cache/fewstep"))
        .expect("there")
        .map(|entry| entry.expect("listed").path());
    let latents = files.find(|file| file.display().to_string().contains("latents-"));
    let bytes = fs::read(latents.expect("there")).expect("read");
    let file = safetensors::SafeTensors::deserialize(&bytes).expect("whole");
    file.tensor("latents").expect("there").shape()[0]
}

#[test]
fn tars_of_a_split_are_not_those_of_the_other() {
    let (workspace, recipe, set) = workspace();
    let eight: Vec<String> = (0..8)
        .flat_map(|i| [format!("{i}.png"), format!("{i}.txt")])
        .collect();
    let eight: Vec<&str> = eight.iter().map(String::as_str).collect();
    write_tar(&set.join("train-000.tar"), &eight);
    write_tar(&set.join("test-000.tar"), &eight[..4]);
    workspace.succeed(&["distill", &recipe, "--dry-run"]);
    assert_eq!(cached(&workspace), 8);
    fs::remove_dir_all(workspace.path("cache")).expect("removed");
    workspace.succeed(&["distill", &recipe, "--dry-run", "--set", "data.split=test"]);
    assert_eq!(cached(&workspace), 2);
}

/// Nothing in a tar is passed over because of where it is: tars put one after another, names with dots
/// in front. One that is compressed is told.
#[test]
fn all_of_a_tar_is_read() {
    let (workspace, _, set) = workspace();
    write_tar(
        &set.join("a.tar"),
        &["a.png", "a.txt", "../b.png", "../b.txt"],
    );
    write_tar(&set.join("b.tar"), &["./c/./d.png", "./c/./d.txt"]);
    let [first, second] = ["a.tar", "b.tar"].map(|name| fs::read(set.join(name)).expect("read"));
    fs::write(set.join("both.tar"), [first, second].concat()).expect("written");
    let (said, _) = workspace.succeed(&["data", "captioned:set/both.tar"]);
    assert!(said.contains("3 examples can be used"), "{said}");
    fs::write(set.join("packed.tar"), [0x1f, 0x8b, 8, 0, 0, 0]).expect("written");
    let words = ["data", "captioned:set/packed.tar"];
    workspace.refuse(&words, &["packed.tar", "compressed with gzip"]);
}

/// Folders of splits inside of a tar are what they are outside of it.
#[test]
fn parts_of_a_tar_are_not_those_of_the_other() {
    let (workspace, _, set) = workspace();
    let names = [
        "set/train/a.png",
        "set/train/a.txt",
        "set/train/b.png",
        "set/train/b.txt",
    ];
    let held_out = ["set/val/c.png", "set/val/c.txt"];
    write_tar(&set.join("all.tar"), &[&names[..], &held_out[..]].concat());
    for (split, count) in [("train", "2 examples"), ("test", "1 example")] {
        let split = format!("data.split={split}");
        let data = ["data", "captioned:set/all.tar", "--set", &split];
        let (said, _) = workspace.succeed(&data);
        assert!(said.contains(&format!("{count} can be used")), "{said}");
    }
    // Of several tars, those of the other split are left out.
    write_tar(&set.join("rest.tar"), &held_out);
    let (said, _) = workspace.succeed(&["data", "captioned:set"]);
    assert!(said.contains("2 examples can be used"), "{said}");
    workspace.refuse(
        &["data", "captioned:set/rest.tar"],
        &["no folder for `split`, only val", "rest.tar"],
    );
}

/// A folder of images with a list of labels has no classes, which is told.
#[test]
fn a_list_that_is_not_read_is_told() {
    let (workspace, _, set) = workspace();
    fs::write(set.join("a.png"), image(10)).expect("written");
    fs::write(
        set.join("metadata.jsonl"),
        "{\"file_name\": \"a.png\", \"label\": 1}\n",
    )
    .expect("written");
    let output = workspace.run(&["data", "folder:set"]);
    let said = stderr(&output);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("metadata.jsonl") && said.contains("no classes"),
        "{said}"
    );
}

#[test]
fn an_example_of_two_images_is_refused_by_name() {
    let (workspace, recipe, set) = workspace();
    write_tar(&set.join("0.tar"), &["a.jpg", "a.png", "a.txt"]);
    workspace.refuse(
        &["distill", &recipe, "--dry-run"],
        &["(`a`)", "`.jpg` and `.png`", "data.column"],
    );
    workspace.succeed(&["distill", &recipe, "--dry-run", "--set", "data.column=png"]);
}

#[test]
fn a_byte_order_mark_changes_nothing() {
    let workspace = Workspace::new();
    let generate = |model: &str, name: &str, mark: &str| {
        let file = workspace.path(name);
        fs::write(&file, format!("{mark}a cat\n")).expect("written");
        let file = file.display().to_string();
        let out = format!("generated-{name}");
        workspace.succeed(&[
            "sample",
            "--model",
            model,
            "--prompts-file",
            &file,
            "--steps",
            "1",
            "--w",
            "3",
            "--out-dir",
            &out,
        ]);
        let png = workspace.path(&out).join("000000.png");
        fewstep_data::image::read(&png, None, 3).expect("an image")
    };
    for name in ["sd1", "sd2"] {
        let model = golden_path(name);
        let image = generate(&model, &format!("{name}.txt"), "");
        assert_eq!(
            image,
            generate(&model, &format!("{name}-m.txt"), "\u{feff}")
        );
        // In the texts of a model: configurations, vocabularies, merges.
        copy(&golden(name), &workspace.path(name));
        mark_texts(&workspace.path(name));
        assert_eq!(image, generate(name, &format!("{name}-t.txt"), ""));
    }
    let recipe = workspace.recipe("marked.toml", &format!("\u{feff}{TRAIN}"));
    workspace.succeed(&["plan", &recipe]);
}

/// Puts a byte order mark at the start of all texts in a folder.
fn mark_texts(folder: &Path) {
    for entry in fs::read_dir(folder).expect("listed") {
        let path = entry.expect("listed").path();
        let ending = path.extension().and_then(|ending| ending.to_str());
        match ending {
            _ if path.is_dir() => mark_texts(&path),
            Some("json" | "txt") => {
                let text = fs::read_to_string(&path).expect("read");
                fs::write(&path, format!("\u{feff}{text}")).expect("written");
            }
            _ => {}
        }
    }
}

#[test]
fn what_is_left_out_of_a_set_is_told() {
    let workspace = Workspace::new();
    for folder in ["real", "made"] {
        for number in 0..4 {
            let file = workspace.path(folder).join(format!("{number}.png"));
            write_pattern(&file, number, [16, 16]);
        }
    }
    for name in ["4.heic", "5.heic", "6.svg"] {
        fs::write(workspace.path("made").join(name), "").expect("written");
    }
    let output = workspace.run(&[
        "eval",
        "--images",
        "made",
        "--data",
        "folder:real",
        "--no-cache",
    ]);
    let told = stderr(&output);
    for part in ["left out", "2 .heic files (4.heic, ...)", "6.svg"] {
        assert!(told.contains(part), "`{part}` is not in: {told}");
    }
}

#[test]
fn images_of_too_many_pixels_are_refused() {
    let (workspace, recipe, set) = workspace();
    write_pattern(&set.join("a.png"), 1, [40, 50]);
    fs::write(set.join("a.txt"), "a cat").expect("written");
    let limit = |set: &'static str| ["distill", &recipe, "--dry-run", "--set", set];
    workspace.refuse(
        &limit("data.max_pixels=1999"),
        &["a.png", "50x40 pixels", "at most 1999"],
    );
    workspace.succeed(&limit("data.max_pixels=2000"));
}

#[test]
fn a_mask_says_what_is_to_be_filled() {
    let workspace = Workspace::new();
    write_pattern(&workspace.path("image.png"), 1, [16, 16]);
    for (value, part) in [(0, "nothing in it is white"), (255, "all of it is white")] {
        let shape = ImageShape {
            channels: 1,
            height: 16,
            width: 16,
        };
        write_png(workspace.path("mask.png"), &Image::filled(shape, value)).expect("written");
        workspace.refuse(
            &[
                "inpaint",
                "--model",
                &golden_path("inpaint"),
                "--image",
                "image.png",
                "--mask",
                "mask.png",
                "--prompt",
                "a cat",
                "--out-dir",
                "generated",
            ],
            &["mask.png", part],
        );
    }
}

#[test]
fn files_outside_a_set_are_not_read() {
    let (workspace, recipe, set) = workspace();
    write_pattern(&workspace.path("outside.png"), 1, [16, 16]);
    let line = r#"{"file_name": "../outside.png", "text": "a cat"}"#;
    fs::write(set.join("metadata.jsonl"), line).expect("written");
    workspace.refuse(
        &["distill", &recipe, "--dry-run"],
        &["line 1", "../outside.png", "outside of"],
    );
}

#[cfg(unix)]
#[test]
fn what_does_not_end_is_refused() {
    let workspace = Workspace::new();
    let sd1 = golden_path("sd1");
    let words = ["--steps", "1", "--out-dir", "generated"];
    let prompts = ["sample", "--model", &sd1, "--prompts-file", "/dev/zero"];
    workspace.refuse(&[&prompts[..], &words].concat(), &["/dev/zero", "a device"]);
    let edit = [
        "edit",
        "--model",
        &sd1,
        "--prompt",
        "a",
        "--image",
        "/dev/zero",
    ];
    workspace.refuse(&[&edit[..], &words].concat(), &["/dev/zero", "a device"]);
    workspace.refuse(&["plan", "/dev/zero"], &["/dev/zero", "a device"]);
}

/// What a set lacks is said as it is: no images, texts without images, no common size, a setting that
/// has no meaning.
#[test]
fn what_a_set_lacks_is_said() {
    let workspace = Workspace::new();
    let set = workspace.path("photos");
    fs::create_dir(&set).expect("made");
    fs::write(set.join("a.txt"), "a cat").expect("written");
    for spec in ["photos", "captioned:photos"] {
        workspace.refuse(&["data", spec], &["no images", "there is only a.txt"]);
    }
    write_pattern(&set.join("b.png"), 1, [16, 16]);
    write_pattern(&set.join("c.png"), 2, [16, 24]);
    fs::write(set.join("b.txt"), "b").expect("written");
    fs::write(set.join("c.txt"), "c").expect("written");
    let (out, err) = workspace.succeed(&["data", "captioned:photos"]);
    assert!(
        err.contains("texts without an image of the same name: a.txt"),
        "{err}"
    );
    assert!(out.contains("2 examples can be used, 0 cannot"), "{out}");
    let (out, err) = workspace.succeed(&["data", "photos"]);
    assert!(out.contains("2 examples can be used, 0 cannot"), "{out}");
    assert!(
        err.contains("different sizes") && err.contains("`data.size`"),
        "{err}"
    );
    let recipe = workspace.recipe(
        "photos.toml",
        "[data]\nkind = \"folder\"\npath = \"photos\"",
    );
    workspace.refuse(&["data", &recipe], &["different sizes", "16x16"]);
    workspace.succeed(&["data", &recipe, "--set", "data.size=16"]);
    workspace.refuse(
        &["data", "photos", "--set", "size=16"],
        &["--set size=16", "[data]"],
    );
    workspace.refuse(&["data", "zip:photos"], &["`zip` is no kind of dataset"]);
}

/// The real images of a measurement are read as a recipe says.
#[test]
fn real_images_may_have_settings() {
    let workspace = Workspace::new();
    for (folder, number) in [("real", 0), ("made", 10)] {
        fs::create_dir(workspace.path(folder)).expect("made");
        for image in 0..5 {
            let file = workspace.path(folder).join(format!("{image}.png"));
            write_pattern(&file, number + image, [24, 32]);
        }
    }
    let measure = |set: &[&str]| {
        let words = [
            "eval",
            "--images",
            "made",
            "--data",
            "folder:real",
            "--size",
            "32",
            "--json",
            "--features",
            "fashion-mnist-classifier",
            "--no-cache",
        ];
        workspace.succeed(&[&words[..], set].concat()).0
    };
    assert_ne!(measure(&[]), measure(&["--set", "data.fit=pad"]));
    let words = ["eval", "--images", "made", "--data", "folder:real", "--set"];
    workspace.refuse(&[&words[..], &["fit=pad"]].concat(), &["[data]"]);
    workspace.refuse(
        &[&words[..], &["condition.kind=depth"]].concat(),
        &["[data]"],
    );
}
