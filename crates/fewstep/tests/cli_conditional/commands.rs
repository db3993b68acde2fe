//! The commands that generate from control images.

use super::*;
use fewstep_data::image::{Image, MAX_PIXELS, read_with_alpha, write_png};

/// The commands generate the same image for the same seed, enlarged by the factor of the training.
/// What is not masked stays as it is.
#[test]
fn commands_generate_from_control_images() {
    let workspace = taught();
    distil(&workspace, "up", &["updates=4"]);
    distil(
        &workspace,
        "fill",
        &["updates=4", "condition={kind=\"inpaint\"}"],
    );
    let folder = workspace.folder.path();
    write_image(&folder.join("small.png"), 4, 1);
    write_image(&folder.join("larger.png"), 8, 2);
    let upscale = [
        "upscale",
        "--model",
        "up",
        "--image",
        "small.png",
        "--steps",
        "2",
        "--out",
    ];
    for (out, more) in [
        ("a.png", vec![]),
        ("b.png", vec![]),
        ("c.png", vec!["--seed", "1"]),
        ("d.png", vec!["--sampler", "multistep-consistency"]),
        ("e.png", vec!["--sampler", "renoising"]),
    ] {
        workspace.succeed(&[&upscale[..], &[out], &more].concat());
    }
    let image = |name: &str| read_image(&folder.join(name)).pixels;
    assert_eq!(image("a.png"), image("b.png"));
    assert_ne!(image("a.png"), image("c.png"));
    assert_ne!(image("a.png"), image("d.png"));
    // The sampler's name in earlier versions.
    assert_eq!(image("d.png"), image("e.png"));
    // The image itself; 16 pixels wide for a control image of 8.
    assert_eq!(read_image(&folder.join("a.png")).shape.width, 8);
    let (json, _) = workspace.succeed(&[
        "upscale",
        "--model",
        "up",
        "--image",
        "larger.png",
        "--out",
        "e.png",
        "--json",
    ]);
    assert_eq!(read_image(&folder.join("e.png")).shape.width, 16);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(
        (&json["steps"], &json["network_calls"]),
        (&4.into(), &4.into())
    );

    let mask = Image {
        shape: read_image(&folder.join("larger.png")).shape,
        pixels: (0..64).map(|i| if i % 8 < 4 { 255 } else { 0 }).collect(),
    };
    write_png(folder.join("mask.png"), &mask).expect("written");
    let inpaint = [
        "inpaint",
        "--model",
        "fill",
        "--image",
        "larger.png",
        "--out",
        "f.png",
        "--mask",
    ];
    workspace.succeed(&[&inpaint[..], &["mask.png"]].concat());
    let (whole, filled) = (image("larger.png"), image("f.png"));
    assert!(
        (0..64).all(|i| i % 8 < 4 || filled[i] == whole[i]),
        "the part that is not masked changed"
    );
    workspace.refuse(
        &[&inpaint[..], &["small.png"]].concat(),
        &["8x8", "4x4", "mask"],
    );
    for (flag, value, part) in [
        ("--prompt", "a cat", "text_encoder"),
        ("--size", "8x8", "generates from control images"),
        ("--first", "2", "order of --image"),
    ] {
        let words = [&inpaint[..], &["mask.png", flag, value]].concat();
        workspace.refuse(&words, &[flag, part]);
    }
    let other = [
        "inpaint",
        "--model",
        "up",
        "--image",
        "small.png",
        "--mask",
        "small.png",
        "--out",
        "x.png",
    ];
    workspace.refuse(&other, &["fewstep upscale"]);
    write_image(&folder.join("odd.png"), 9, 1);
    let odd = [
        "inpaint", "--model", "fill", "--image", "odd.png", "--mask", "odd.png", "--out", "x.png",
    ];
    // The size of a file is enough: this one has no pixels.
    std::fs::write(folder.join("huge.ppm"), "P6 60000 60000 255\n").expect("written");
    let huge = [
        "upscale", "--model", "up", "--image", "huge.ppm", "--out", "x.png",
    ];
    workspace.refuse(&huge, &["60000x60000 pixels is too large", "would do"]);
    // The network halves once.
    workspace.refuse(&odd, &["[2, 9, 9]", "multiples of 2", "resize it to 8x8"]);
}

/// The result is the image itself, or a grid of all; the sheet has the inputs too.
#[test]
fn the_sheet_with_the_inputs_is_extra() {
    let workspace = taught();
    distil(&workspace, "up", &["updates=2"]);
    let folder = workspace.folder.path();
    for (name, kind) in [("a.png", 1), ("b.png", 2)] {
        write_image(&folder.join(name), 4, kind);
    }
    let two = [
        "upscale", "--model", "up", "--image", "a.png", "--image", "b.png",
    ];
    let size = |name: &str| {
        let shape = read_image(&folder.join(name)).shape;
        [shape.width, shape.height]
    };
    let each = [
        "--count",
        "3",
        "--out",
        "grid.png",
        "--sheet",
        "sheets/sheet.png",
    ];
    workspace.succeed(&[&two[..], &each].concat());
    // Cells of 8 pixels with a margin of one: two rows of three, and of four with the input.
    assert_eq!(size("grid.png"), [3 * 9 + 1, 2 * 9 + 1]);
    assert_eq!(size("sheets/sheet.png"), [4 * 9 + 1, 2 * 9 + 1]);
    workspace.succeed(&[&two[..], &["--out-dir", "images"]].concat());
    assert_eq!(size("images/000001.png"), [8, 8]);
    assert!(!folder.join("samples.png").exists());
    workspace.refuse(
        &[&two[..], &["--out", "x.png", "--sheet", "x.png"]].concat(),
        &["x.png", "two names"],
    );
}

/// Transparent parts stay transparent in the enlarged image, except where a file cannot have them.
#[test]
fn transparency_is_enlarged_too() {
    let workspace = taught();
    distil(&workspace, "up", &["updates=2"]);
    let folder = workspace.folder.path();
    write_image(&folder.join("opaque.png"), 4, 1);
    let opaque = read_image(&folder.join("opaque.png"));
    let mask = Image {
        pixels: (0..16).map(|i| if i % 4 < 2 { 255 } else { 0 }).collect(),
        ..opaque.clone()
    };
    write_png(folder.join("icon.png"), &opaque.with_alpha(&mask)).expect("written");
    let upscale = |image: &str, out: &str| {
        workspace.succeed(&["upscale", "--model", "up", "--image", image, "--out", out]);
        read_with_alpha(MAX_PIXELS, &folder.join(out), 1).expect("an image")
    };
    let (image, alpha) = upscale("icon.png", "large.png");
    let alpha = alpha.expect("an alpha channel").pixels;
    assert_eq!((image.shape.width, alpha[0], alpha[7]), (8, 255, 0));
    assert_eq!(upscale("icon.png", "large.jpg").1, None);
    assert_eq!(upscale("opaque.png", "plain.png").1, None);
}

/// By any spelling or link: no command writes over a file that it reads.
#[cfg(unix)]
#[test]
fn no_result_overwrites_an_input() {
    let workspace = Workspace::new();
    let folder = workspace.folder.path();
    for name in ["a.png", "000000.png"] {
        write_image(&folder.join(name), 16, 1);
    }
    std::os::unix::fs::symlink("a.png", folder.join("link.png")).expect("linked");
    std::fs::hard_link(folder.join("a.png"), folder.join("hard.png")).expect("linked");
    let before = std::fs::read(folder.join("a.png")).expect("there");
    let latent = workspace::golden_path("inpaint");
    let (model, prompt) = (["--model", &*latent], ["--prompt", "a"]);
    let image = ["--image", "a.png"];
    let mask = ["--mask", "a.png"];
    for (command, more) in [
        ("upscale", vec![]),
        ("edit", prompt.to_vec()),
        ("inpaint", [&mask[..], &prompt].concat()),
    ] {
        for out in ["a.png", "./data/../a.png", "link.png", "hard.png"] {
            for flag in ["--out", "--sheet"] {
                let words = [&[command][..], &model, &image, &more, &[flag, out]].concat();
                workspace.refuse(&words, &["overwrite the input a.png"]);
            }
        }
    }
    let teacher = "builtin:fashion-mnist-teacher";
    let restyle = ["restyle", "--teacher", teacher, "--from", "0", "--to", "1"];
    let words = [&restyle[..], &image, &["--out", "link.png"]].concat();
    workspace.refuse(&words, &["overwrite the input a.png"]);
    let eval = ["eval", "--data", "data", "--weights", "a.png"];
    for (what, flag) in [("--images", "--out"), ("--model", "--grid")] {
        let words = [&eval[..], &[what, "data", flag, "hard.png"]].concat();
        workspace.refuse(&words, &["overwrite the input a.png"]);
    }
    // Numbered files, once the number of images is known.
    let edit = [&["edit"][..], &model, &prompt, &["--image", "000000.png"]].concat();
    let sd1 = workspace::golden_path("sd1");
    let numbered = edit
        .iter()
        .map(|word| if *word == latent { &*sd1 } else { word });
    let numbered: Vec<&str> = numbered.collect();
    let steps = ["--steps", "1", "--out-dir", "."];
    let words = [&numbered[..], &steps].concat();
    workspace.refuse(&words, &["overwrite the input 000000.png"]);
    workspace.succeed(&[&words[..], &["--first", "1"]].concat());
    assert_eq!(std::fs::read(folder.join("a.png")).expect("there"), before);
}

/// Files of sets, models and runs are not written over, and two results are not one file.
#[cfg(unix)]
#[test]
fn no_result_overwrites_what_is_in_a_folder_that_is_read() {
    let workspace = Workspace::new();
    let folder = workspace.folder.path();
    write_image(&folder.join("set/a/0.png"), 32, 1);
    std::fs::write(folder.join("set/a/0.txt"), "a caption").expect("written");
    std::fs::hard_link(folder.join("set/a/0.png"), folder.join("hard.png")).expect("linked");
    workspace::copy(&workspace::golden("classes"), &folder.join("run/models/m"));
    std::fs::write(folder.join("run/recipe.toml"), "").expect("written");
    let there = |file: &str| format!("{file} is there already, in ");
    for file in ["set/a/0.png", "set/a/0.txt"] {
        for set in [
            "captioned:set/a",
            "captioned:./set/../set/a",
            "folder:set",
            "set",
        ] {
            workspace.refuse(&["data", set, "--list", file], &[&there(file)]);
        }
    }
    // A caption is no list because of what it begins with.
    for caption in ["#sunset at the sea", ""] {
        std::fs::write(folder.join("set/a/0.txt"), caption).expect("written");
        workspace.refuse(
            &["data", "captioned:set/a", "--list", "set/a/0.txt"],
            &[&there("set/a/0.txt")],
        );
    }
    std::fs::write(folder.join("set/a/0.txt"), "a caption").expect("written");
    let recipe = "[data]\nkind = \"captioned\"\npath = \"set/a\"\nskip = \"skip.txt\"\n";
    std::fs::write(folder.join("set.toml"), recipe).expect("written");
    std::fs::write(folder.join("skip.txt"), "# nothing\n").expect("written");
    let listed = |file| ["data", "set.toml", "--list", file];
    workspace.refuse(&listed("set/a/0.png"), &[&there("set/a/0.png")]);
    workspace.refuse(&listed("set.toml"), &["overwrite the input set.toml"]);
    workspace.refuse(&listed("skip.txt"), &["overwrite the input skip.txt"]);
    // A list may be written again.
    for _ in 0..2 {
        workspace.succeed(&listed("set/a/unusable.txt"));
    }

    let eval = ["eval", "--model", "run", "--data"];
    let index = "run/models/m/model_index.json";
    for (set, out) in [
        ("folder:set", "set/a/0.png"),
        ("idx:data", "data/train-images-idx3-ubyte"),
        ("set", index),
        ("set", "run/recipe.toml"),
    ] {
        let words = [&eval[..], &[set, "--out", out]].concat();
        workspace.refuse(&words, &[&there(out)]);
    }
    let images = ["eval", "--images", "set/a", "--data", "data", "--out"];
    workspace.refuse(
        &[&images[..], &["set/a/0.png"]].concat(),
        &[&there("set/a/0.png")],
    );
    // Images in the folder of a model may.
    let sample = [
        "sample",
        "--model",
        "run/models/m",
        "--steps",
        "1",
        "--count",
        "1",
    ];
    for _ in 0..2 {
        workspace.succeed(&[&sample[..], &["--out", "run/models/m/samples.png"]].concat());
    }

    let upscale = ["upscale", "--model", "run", "--image", "hard.png", "--out"];
    for (out, sheet) in [("b.png", "set/../b.png"), ("new/b.png", "./new/b.png")] {
        let words = [&upscale[..], &[out, "--sheet", sheet]].concat();
        workspace.refuse(&words, &[out, sheet, "two results"]);
    }
    let numbered = [
        "upscale",
        "--model",
        "run",
        "--image",
        "hard.png",
        "--out-dir",
        "out",
    ];
    let words = [&numbered[..], &["--sheet", "out/000001.png"]].concat();
    workspace.refuse(&words, &["out/000001.png", "two results"]);
    assert_eq!(read_image(&folder.join("hard.png")).shape.width, 32);
}
