//! `fewstep sample`, `edit` and `inpaint` with models that generate from prompts, through the real
//! program. The models are tiny random ones in diffusers' folders.

mod tiny;
mod workspace;

use fewstep_data::image::{self, Image};
use fewstep_data::{ImageShape, image::write_png};
use std::path::Path;
use tempfile::TempDir;
use tiny::{save, teacher};
use workspace::{golden_path, refuse, succeed};

fn workspace() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

/// The pixels and the parameters of a generated image.
fn generated(folder: &Path, name: &str) -> (Image, String) {
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
fn an_image_from_a_prompt_says_how_it_was_made() {
    let folder = workspace();
    let model = golden_path("sd1");
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
        "cat.png",
    ];
    let (out, err) = succeed(folder.path(), &words);
    assert!(out.contains("w = 3 (guidance scale 4)"), "{out}");
    assert!(out.contains("4 network calls"), "{out}");
    assert_eq!(err, "");
    let (image, parameters) = generated(folder.path(), "cat.png");
    assert_eq!((image.shape.height, image.shape.width), (16, 16));
    let expected = "a café\nNegative prompt: dogs\nSteps: 2, Sampler: ddim, CFG scale: 4, Seed: 7, Size: 16x16, Model: sd1, Image: 0, Version: fewstep ";
    assert!(parameters.starts_with(expected), "{parameters}");
}

#[test]
fn prompts_take_turns_and_images_do_not_depend_on_their_batch() {
    let folder = workspace();
    let model = golden_path("tiny");
    std::fs::write(folder.path().join("prompts.txt"), "a cat\n\na dog\n").expect("written");
    let generate = |out: &str, more: &[&str]| {
        let words = [
            "sample",
            "--model",
            &model,
            "--prompts-file",
            "prompts.txt",
            "--steps",
            "2",
        ];
        succeed(
            folder.path(),
            &[&words[..], &["--out-dir", out], more].concat(),
        );
    };
    generate("all", &["--count", "4", "--batch", "3"]);
    generate("third", &["--count", "1", "--first", "2"]);
    let (third, parameters) = generated(folder.path(), "all/000002.png");
    assert!(parameters.starts_with("a cat\n"), "{parameters}");
    assert!(
        generated(folder.path(), "all/000003.png")
            .1
            .starts_with("a dog\n")
    );
    assert_eq!(
        generated(folder.path(), "third/000002.png"),
        (third.clone(), parameters)
    );
    assert_ne!(generated(folder.path(), "all/000000.png").0, third);
}

#[test]
fn a_student_takes_one_call_a_step_and_no_negative_prompt() {
    let folder = workspace();
    let model = golden_path("tiny");
    let words = [
        "sample", "--model", &model, "--prompt", "a cat", "--steps", "2", "--w", "5",
    ];
    let (out, _) = succeed(folder.path(), &words);
    assert!(out.contains("2 network calls"), "{out}");
    let negative = [&words[..], &["--negative-prompt", "dogs"]].concat();
    refuse(folder.path(), &negative, &["negative prompt", "no meaning"]);
}

#[test]
fn the_end_of_a_prompt_that_is_too_long_is_shown() {
    let folder = workspace();
    let (model, long) = (golden_path("sd1"), format!("{}zebra", "dog ".repeat(80)));
    let words = [
        "sample", "--model", &model, "--prompt", &long, "--steps", "1",
    ];
    let (_, err) = succeed(folder.path(), &words);
    assert!(err.contains("77 tokens") && err.contains("zebra"), "{err}");
}

#[test]
fn an_edit_with_less_strength_stays_nearer_to_the_image() {
    let folder = workspace();
    let model = golden_path("sd1");
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
        generated(folder.path(), &format!("{strength}/000000.png"))
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

/// Without --out the result goes to samples.png, which may be the input.
#[test]
fn the_usual_result_is_not_written_over_the_image() {
    let folder = workspace();
    let model = golden_path("sd1");
    paint(folder.path(), "samples.png", 3, 16);
    let before = std::fs::read(folder.path().join("samples.png")).expect("there");
    let words = [
        "edit", "--model", &model, "--prompt", "a cat", "--steps", "1",
    ];
    let image = ["--image", "./samples.png"];
    refuse(
        folder.path(),
        &[&words[..], &image].concat(),
        &["samples.png"],
    );
    let after = std::fs::read(folder.path().join("samples.png")).expect("there");
    assert_eq!(before, after);
}

#[test]
fn an_edit_has_steps_of_its_own() {
    let folder = workspace();
    let model = golden_path("sd1");
    paint(folder.path(), "in.png", 3, 16);
    let words = [
        "edit",
        "--model",
        &model,
        "--image",
        "in.png",
        "--prompt",
        "a cat",
        "--spacing",
        "trailing",
    ];
    refuse(
        folder.path(),
        &words,
        &["--spacing", "evenly from --strength to 0", "omit it"],
    );
}

#[test]
fn a_part_of_an_image_is_filled() {
    let folder = workspace();
    let model = golden_path("inpaint");
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
    generated(folder.path(), "filled.png");
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
        refuse(folder.path(), &words, &[part, "prompt"]);
    }
}

/// A network that sees the image next to the noise: images of several sizes, each with a result of
/// its own size that depends on both guidances.
#[test]
fn an_image_is_edited_by_instruction() {
    let folder = workspace();
    let model = golden_path("instruct");
    for (name, side) in [("in.png", 16), ("large.png", 24), ("odd.png", 18)] {
        paint(folder.path(), name, 3, side);
    }
    let instruct = |image: &'static str, more: &[&'static str]| {
        let words = ["instruct", "--model", &model, "--image", image];
        let words = words.map(String::from).into_iter();
        let more = more.iter().map(|word| word.to_string());
        let last = ["--prompt", "a cat", "--steps", "2"].map(String::from);
        words.chain(more).chain(last).collect::<Vec<String>>()
    };
    let made = |out: &'static str, more: &[&'static str]| {
        let words = instruct("in.png", &[more, &["--out", out]].concat());
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (said, _) = succeed(folder.path(), &words);
        assert!(said.contains("6 network calls"), "{said}");
        generated(folder.path(), out)
    };
    let (plain, text) = made("plain.png", &[]);
    assert!(text.contains("Image CFG scale: 1.5"), "{text}");
    let (default, _) = made("default.png", &["--image-guidance-scale", "1.5"]);
    assert_eq!(plain, default);
    let (closer, text) = made("closer.png", &["--image-guidance-scale", "4"]);
    assert!(text.contains("Image CFG scale: 4"), "{text}");
    let (guided, _) = made("guided.png", &["--guidance-scale", "7.5"]);
    let (other, text) = made(
        "other.png",
        &["--guidance-scale", "7.5", "--negative-prompt", "two dogs"],
    );
    assert!(text.contains("Negative prompt: two dogs"), "{text}");
    assert!(plain != closer && plain != guided && closer != guided && guided != other);

    let words = instruct("in.png", &["--image", "large.png", "--out-dir", "both"]);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    succeed(folder.path(), &words);
    let (first, _) = generated(folder.path(), "both/000000.png");
    assert_eq!(first, plain);
    let (second, text) = generated(folder.path(), "both/000001.png");
    assert_eq!((second.shape.height, second.shape.width), (24, 24));
    assert!(text.contains("Size: 24x24"), "{text}");

    let sd1 = golden_path("sd1");
    for (words, parts) in [
        (instruct("odd.png", &[]), &["resize it to 16x16"][..]),
        (
            instruct("in.png", &["--image-guidance-scale", "1e9"]),
            &["--image-guidance-scale"],
        ),
        (
            ["sample", "--model", &model, "--prompt", "a"]
                .map(Into::into)
                .into(),
            &["fewstep instruct"],
        ),
        (
            ["depth", "--model", &model, "--image", "in.png"]
                .map(Into::into)
                .into(),
            &["fewstep instruct"],
        ),
        (
            ["instruct", "--model", &sd1, "--image", "in.png"]
                .map(Into::into)
                .into(),
            &["no control image"],
        ),
    ] {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let words = [&words[..], &["--out", "x.png"]].concat();
        refuse(folder.path(), &words, parts);
    }
}

#[test]
fn what_a_model_cannot_do_is_refused() {
    let folder = workspace();
    save(&teacher(), folder.path(), "pixels");
    paint(folder.path(), "in.png", 3, 16);
    let (sd1, inpaint) = (golden_path("sd1"), golden_path("inpaint"));
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
            vec!["generates classes", "from prompts"],
        ),
    ] {
        refuse(folder.path(), &words, &parts);
    }
}
