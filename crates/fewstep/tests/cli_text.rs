//! `fewstep sample`, `edit` and `inpaint` with models that draw from texts, through the real
//! program. The models are tiny random ones in diffusers' folders.

mod tiny;

use fewstep_data::image::{self, Image};
use fewstep_data::{ImageShape, image::write_png};
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tiny::{refuse, save, succeed, teacher};

fn model(name: &str) -> String {
    let golden = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../formats/tests/golden/latent"
    );
    let folder = PathBuf::from(golden).join(name);
    folder.to_str().expect("a path in UTF-8").into()
}

fn workshop() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

/// The pixels and the parameters of a drawn image.
fn drawn(folder: &Path, name: &str) -> (Image, String) {
    let file = folder.join(name);
    let bytes = std::fs::read(&file).expect("a file");
    let parameters = image::parameters(&bytes).expect("parameters");
    (image::read(&file, None, 3).expect("an image"), parameters)
}

/// A coloured pattern as a file.
fn paint(folder: &Path, name: &str, channels: usize, side: usize) {
    let shape = ImageShape {
        channels,
        height: side,
        width: side,
    };
    let pixels = (0..shape.len()).map(|i| ((i * 37) % 256) as u8).collect();
    write_png(folder.join(name), &Image { shape, pixels }).expect("written");
}

#[test]
fn a_image_from_a_text_says_how_it_was_made() {
    let folder = workshop();
    let model = model("sd1");
    let words = [
        "sample",
        "--model",
        &model,
        "--prompt",
        "a café",
        "--negative-prompt",
        "dogs",
        "--steps",
        "2",
        "--guidance-scale",
        "4",
        "--seed",
        "7",
        "--out",
        "drawn.png",
    ];
    let (out, err) = succeed(folder.path(), &words);
    assert!(out.contains("w = 3 (guidance scale 4)"), "{out}");
    assert!(out.contains("4 network calls"), "{out}");
    assert_eq!(err, "");
    let (image, parameters) = drawn(folder.path(), "drawn.png");
    // A grid of one image has a white margin of one pixel.
    assert_eq!((image.shape.height, image.shape.width), (18, 18));
    let expected = "a café\nNegative prompt: dogs\nSteps: 2, Sampler: ddim, CFG scale: 4, Seed: 7, Size: 16x16, Model: sd1, Image: 0, Version: fewstep ";
    assert!(parameters.starts_with(expected), "{parameters}");
}

#[test]
fn texts_take_turns_and_images_do_not_depend_on_their_batch() {
    let folder = workshop();
    let model = model("tiny");
    std::fs::write(folder.path().join("texts.txt"), "a cat\n\na dog\n").expect("written");
    let draw = |out: &str, more: &[&str]| {
        let words = [
            "sample",
            "--model",
            &model,
            "--prompts-file",
            "texts.txt",
            "--steps",
            "2",
        ];
        succeed(
            folder.path(),
            &[&words[..], &["--out-dir", out], more].concat(),
        );
    };
    draw("all", &["--count", "4", "--batch", "3"]);
    draw("third", &["--count", "1", "--first", "2"]);
    let (third, parameters) = drawn(folder.path(), "all/000002.png");
    assert!(parameters.starts_with("a cat\n"), "{parameters}");
    assert!(
        drawn(folder.path(), "all/000003.png")
            .1
            .starts_with("a dog\n")
    );
    assert_eq!(
        drawn(folder.path(), "third/000002.png"),
        (third.clone(), parameters)
    );
    assert_ne!(drawn(folder.path(), "all/000000.png").0, third);
}

#[test]
fn a_student_answers_with_one_call_and_takes_no_negative_text() {
    let folder = workshop();
    let model = model("tiny");
    let words = [
        "sample", "--model", &model, "--prompt", "a cat", "--steps", "2", "--w", "5",
    ];
    let (out, _) = succeed(folder.path(), &words);
    assert!(out.contains("2 network calls"), "{out}");
    let negative = [&words[..], &["--negative-prompt", "dogs"]].concat();
    refuse(folder.path(), &negative, &["negative prompt", "no meaning"]);
}

#[test]
fn what_is_cut_off_a_long_text_is_shown() {
    let folder = workshop();
    let (model, long) = (model("sd1"), format!("{}zebra", "dog ".repeat(80)));
    let words = [
        "sample", "--model", &model, "--prompt", &long, "--steps", "1",
    ];
    let (_, err) = succeed(folder.path(), &words);
    assert!(err.contains("77 tokens") && err.contains("zebra"), "{err}");
}

/// The less strength, the nearer to the image.
#[test]
fn an_edit_keeps_what_its_strength_leaves() {
    let folder = workshop();
    let model = model("sd1");
    paint(folder.path(), "in.png", 3, 16);
    let edit = |strength: &str| {
        let words = [
            "edit",
            "--model",
            &model,
            "--image",
            "in.png",
            "--prompt",
            "a cat",
            "--steps",
            "3",
            "--strength",
            strength,
            "--out-dir",
            strength,
        ];
        succeed(folder.path(), &words);
        drawn(folder.path(), &format!("{strength}/000000.png"))
    };
    let (kept, parameters) = edit("0.001");
    assert!(
        parameters.contains("Denoising strength: 0.001"),
        "{parameters}"
    );
    let distance = |other: &Image| -> f64 {
        let pairs = kept.pixels.iter().zip(&other.pixels);
        pairs.map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / kept.pixels.len() as f64
    };
    let (little, all) = (distance(&edit("0.002").0), distance(&edit("1").0));
    assert!(little < all / 2.0, "{little} after 0.002, {all} after 1");
}

#[test]
fn a_part_of_a_image_is_filled() {
    let folder = workshop();
    let model = model("inpaint");
    paint(folder.path(), "in.png", 3, 16);
    paint(folder.path(), "mask.png", 1, 16);
    paint(folder.path(), "small.png", 1, 8);
    let words = |mask: &'static str| {
        [
            "inpaint",
            "--model",
            &model,
            "--image",
            "in.png",
            "--mask",
            mask,
            "--prompt",
            "a cat",
            "--steps",
            "2",
            "--out",
            "filled.png",
        ]
    };
    succeed(folder.path(), &words("mask.png"));
    drawn(folder.path(), "filled.png");
    refuse(
        folder.path(),
        &words("small.png"),
        &["mask is 8x8", "16x16"],
    );
    refuse(folder.path(), &words("nowhere.png"), &["nowhere.png"]);
    for (more, part) in [
        (["--image", "in.png"], "2 images and 1 masks"),
        (["--class", "3"], "--class"),
    ] {
        let words = [&words("mask.png")[..], &more].concat();
        refuse(folder.path(), &words, &[part, "text"]);
    }
}

#[test]
fn what_a_model_cannot_do_is_refused() {
    let folder = workshop();
    save(&teacher(), folder.path(), "pixels");
    paint(folder.path(), "in.png", 3, 16);
    let (sd1, inpaint) = (model("sd1"), model("inpaint"));
    for (words, parts) in [
        (vec!["sample", "--model", &sd1], vec!["--prompt"]),
        (
            vec!["sample", "--model", &sd1, "--prompt", "a", "--class", "b"],
            vec!["--class"],
        ),
        (
            vec![
                "sample", "--model", &sd1, "--prompt", "a", "--size", "15x16",
            ],
            vec!["15x16", "multiples of 4"],
        ),
        (
            vec!["sample", "--model", "pixels", "--prompt", "a"],
            vec!["--prompt", "text_encoder"],
        ),
        (
            vec!["sample", "--model", &inpaint, "--prompt", "a"],
            vec!["fewstep inpaint"],
        ),
        (
            vec![
                "inpaint", "--model", &sd1, "--prompt", "a", "--image", "in.png", "--mask",
                "in.png",
            ],
            vec!["9 input channels"],
        ),
        (
            vec![
                "edit",
                "--model",
                &sd1,
                "--prompt",
                "a",
                "--image",
                "in.png",
                "--strength",
                "1.5",
            ],
            vec!["--strength", "at most 1"],
        ),
        (
            vec![
                "edit", "--model", "pixels", "--prompt", "a", "--image", "in.png",
            ],
            vec!["model_index.json", "UNet2DModel"],
        ),
    ] {
        refuse(folder.path(), &words, &parts);
    }
}
