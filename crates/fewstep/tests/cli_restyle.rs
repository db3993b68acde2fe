//! `fewstep restyle` through the real program.

mod tiny;
mod workspace;

use burn::tensor::Device;
use fewstep::generate::{from_images, to_images};
use fewstep_data::image::{Image, read, write_png};
use fewstep_diffusion::DistilledFor;
use fewstep_formats::Pipeline;
use std::path::Path;
use tempfile::TempDir;
use tiny::{read_image, save, student, teacher, write_image};
use workspace::{golden_path, refuse, succeed};

/// A folder with a teacher, students and two images.
fn workspace() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    save(&teacher(), folder.path(), "teacher");
    save(&student(DistilledFor::Any, None), folder.path(), "guided");
    save(
        &student(DistilledFor::Encoder, Some(2)),
        folder.path(),
        "encoder",
    );
    save(
        &student(DistilledFor::Deterministic, Some(2)),
        folder.path(),
        "decoder",
    );
    write_image(&folder.path().join("one.png"), 16, 1);
    write_image(&folder.path().join("two.png"), 16, 2);
    folder
}

const TASK: [&str; 7] = [
    "restyle", "--image", "one.png", "--from", "circle", "--to", "star",
];
const STUDENTS: [&str; 4] = ["--encoder", "encoder", "--decoder", "decoder"];

/// The image in a cell of the sheet.
fn cell(sheet: &Image, row: usize, column: usize) -> Vec<u8> {
    let (top, left) = (1 + 17 * row, 1 + 17 * column);
    (0..16 * 16)
        .map(|i| sheet.pixels[(top + i / 16) * sheet.shape.width + left + i % 16])
        .collect()
}

fn distance(a: &[u8], b: &[u8]) -> f64 {
    let sum: f64 = std::iter::zip(a, b)
        .map(|(a, b)| f64::from(a.abs_diff(*b)))
        .sum();
    sum / a.len() as f64
}

#[test]
fn a_row_shows_the_image_and_a_result_for_each_w() {
    let folder = workspace();
    let more = ["--image", "two.png", "--w", "0,3", "--out", "new/sheet.png"];
    let (out, err) = succeed(folder.path(), &[&TASK[..], &STUDENTS, &more].concat());
    for part in [
        "new/sheet.png: 2 images from circle to star",
        "w = 0 (guidance scale 1), w = 3 (guidance scale 4)",
        "students: 2 network calls to encode and 2 network calls to decode",
    ] {
        assert!(out.contains(part), "{out}");
    }
    assert_eq!(err, "");
    let sheet = read_image(&folder.path().join("new/sheet.png"));
    assert_eq!(
        (sheet.shape.width, sheet.shape.height),
        (3 * 17 + 1, 2 * 17 + 1)
    );
    for (row, name) in ["one.png", "two.png"].iter().enumerate() {
        let source = read_image(&folder.path().join(name)).pixels;
        assert_eq!(cell(&sheet, row, 0), source);
    }
    assert_ne!(
        cell(&sheet, 0, 1),
        cell(&sheet, 0, 2),
        "w makes no difference"
    );
    assert_ne!(
        cell(&sheet, 0, 1),
        cell(&sheet, 1, 1),
        "the image makes no difference"
    );
}

#[test]
fn the_teacher_has_rows_of_its_own() {
    let folder = workspace();
    let teacher = ["--teacher", "teacher", "--teacher-steps", "8"];
    let (out, _) = succeed(folder.path(), &[&TASK[..], &STUDENTS, &teacher].concat());
    assert!(
        out.contains("teacher: 8 network calls to encode and 16 network calls to decode"),
        "{out}"
    );
    // Students and teacher use the w that the student recommends.
    assert!(out.contains("then w = 1 (guidance scale 2);"), "{out}");
    let both = read_image(&folder.path().join("restyled.png"));
    assert_eq!(
        (both.shape.width, both.shape.height),
        (2 * 17 + 1, 2 * 17 + 1)
    );
    let own = [&TASK[..], &teacher, &["--w", "1", "--out", "teacher.png"]].concat();
    succeed(folder.path(), &own);
    let own = read_image(&folder.path().join("teacher.png"));
    assert_eq!(cell(&own, 0, 1), cell(&both, 1, 1));
    assert_ne!(cell(&both, 0, 1), cell(&both, 1, 1));
}

/// Mean error of an image that is encoded and decoded as the same class with the same w.
fn round_trip(folder: &Path, models: &[&str], steps: [&str; 2]) -> f64 {
    let words = [
        "restyle", "--image", "one.png", "--from", "star", "--to", "star", "--w", "0",
    ];
    succeed(folder, &[&words[..], models, &steps].concat());
    let sheet = read_image(&folder.join("restyled.png"));
    distance(&cell(&sheet, 0, 0), &cell(&sheet, 0, 1))
}

#[test]
fn the_image_comes_back_as_steps_grow() {
    let folder = workspace();
    for (models, flag) in [
        (
            &["--encoder", "guided", "--decoder", "guided"][..],
            "--steps",
        ),
        (&["--teacher", "teacher"], "--teacher-steps"),
    ] {
        let error = |steps| round_trip(folder.path(), models, [flag, steps]);
        let (few, many) = (error("4"), error("64"));
        assert!(
            many < 6.0 && many < few / 4.0,
            "{flag}: {few} levels off in 4 steps, {many} in 64"
        );
    }
}

#[test]
fn weights_outside_the_range_are_warned_about() {
    let folder = workspace();
    let words = [&TASK[..], &STUDENTS, &["--w", "9", "--w-encode", "5"]].concat();
    let (_, err) = succeed(folder.path(), &words);
    assert!(err.contains("w = 9 (guidance scale 10)"), "{err}");
    assert!(err.contains("w = 5 (guidance scale 6)"), "{err}");
    let words = [&TASK[..], &STUDENTS, &["--steps", "4"]].concat();
    let (_, err) = succeed(folder.path(), &words);
    assert_eq!(
        err.matches("distilled for 2 steps and is sampled with 4")
            .count(),
        1,
        "{err}"
    );
}

#[test]
fn what_contradicts_the_models_is_refused() {
    let folder = workspace();
    save(
        &student(DistilledFor::Stochastic, Some(2)),
        folder.path(),
        "stochastic",
    );
    save(
        &tiny::remade(&teacher(), 2, [1, 32, 32], &["star", "circle"]),
        folder.path(),
        "large",
    );
    for (models, parts) in [
        (
            &["--encoder", "decoder", "--decoder", "decoder"][..],
            ["--encoder decoder", "cannot encode an image"],
        ),
        (
            &["--encoder", "encoder", "--decoder", "encoder"],
            ["--decoder encoder", "cannot generate images"],
        ),
        (
            &["--encoder", "encoder", "--decoder", "stochastic"],
            ["--decoder stochastic", "stochastic sampler"],
        ),
        (
            &["--teacher", "decoder"],
            ["--teacher decoder", "cannot encode an image"],
        ),
        (&["--encoder", "encoder"], ["--decoder", "required"]),
        (&[], ["--encoder", "--teacher"]),
        (
            &[
                "--encoder",
                "encoder",
                "--decoder",
                "decoder",
                "--teacher",
                "large",
            ],
            ["different shapes", "32x32"],
        ),
        (&["--teacher", "nowhere"], ["nowhere", "No such file"]),
        (
            &["--teacher", "teacher", "--w", "1", "--guidance-scale", "2"],
            ["--w", "cannot be used with"],
        ),
    ] {
        refuse(folder.path(), &[&TASK[..], models].concat(), &parts);
    }
    assert!(!folder.path().join("restyled.png").exists());
}

#[test]
fn bad_images_classes_and_places_are_refused() {
    let folder = workspace();
    std::fs::write(folder.path().join("text.png"), "no image").expect("written");
    let teacher = ["--teacher", "teacher", "--teacher-steps", "2"];
    for (words, parts) in [
        (
            ["--image", "text.png", "--from", "star", "--to", "star"],
            ["text.png", "unreadable image"],
        ),
        (
            ["--image", "none.png", "--from", "star", "--to", "star"],
            ["none.png", "No such file"],
        ),
        (
            ["--image", "one.png", "--from", "stars", "--to", "star"],
            ["`stars`", "Did you mean `star`?"],
        ),
        (
            ["--image", "one.png", "--from", "star", "--to", "9"],
            ["no class `9`", "circle, square, star"],
        ),
    ] {
        refuse(
            folder.path(),
            &[&["restyle"][..], &words[..], &teacher].concat(),
            &parts,
        );
    }
    let below = [&TASK[..], &teacher, &["--out", "one.png/sheet.png"]].concat();
    refuse(folder.path(), &below, &["one.png", "choose another place"]);
}

/// A folder with a smooth coloured image.
fn coloured() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("one.png");
    write_image(&file, 16, 1);
    write_png(&file, &read(&file, None, 3).expect("an image")).expect("written");
    folder
}

/// A coloured image in the only row of a sheet.
fn coloured_cell(sheet: &Path, column: usize) -> Vec<u8> {
    let sheet = read(sheet, None, 3).expect("an image");
    let left = 1 + 17 * column;
    let pixels = (0..3 * 16 * 16).map(|i| {
        let (channel, row, x) = (i / 256, i % 256 / 16, i % 16);
        let (height, width) = (sheet.shape.height, sheet.shape.width);
        sheet.pixels[(channel * height + 1 + row) * width + left + x]
    });
    pixels.collect()
}

/// Encoded and decoded under the same text, an image comes back as well as the autoencoder gives it
/// back.
#[test]
fn with_one_prompt_the_image_comes_back() {
    let folder = coloured();
    let device = Device::flex();
    for model in ["sd1", "sd2"].map(golden_path) {
        let vae = Pipeline::load(model.as_ref(), &device)
            .expect("a model")
            .vae;
        let source = read(&folder.path().join("one.png"), None, 3).expect("an image");
        let batch = from_images(&[source], &device);
        let expected = to_images(vae.decode(vae.encode(batch), None)).remove(0);
        let error = |steps: &str| {
            let words = [
                "restyle",
                "--teacher",
                &model,
                "--image",
                "one.png",
                "--from",
                "a cat",
                "--to",
                "a cat",
                "--w",
                "0",
                "--teacher-steps",
                steps,
            ];
            succeed(folder.path(), &words);
            let sheet = folder.path().join("restyled.png");
            distance(&coloured_cell(&sheet, 1), &expected.pixels)
        };
        let (few, many) = (error("4"), error("1000"));
        assert!(
            many < 2.0 && many < few / 4.0,
            "{model}: {few} levels off in 4 steps, {many} in 1000"
        );
    }
}

#[test]
fn prompts_and_weights_make_a_difference_and_long_prompts_are_warned_about() {
    let folder = coloured();
    let model = golden_path("sd1");
    let restyle = |to: &str, out: &str| {
        let words = [
            "restyle",
            "--teacher",
            &model,
            "--image",
            "one.png",
            "--from",
            "a cat",
            "--to",
            to,
            "--w",
            "0,5",
            "--teacher-steps",
            "8",
            "--out",
            out,
        ];
        succeed(folder.path(), &words)
    };
    let (out, err) = restyle("a dog", "dog.png");
    for part in [
        "dog.png: 1 image from a cat to a dog",
        "w = 0 (guidance scale 1), w = 5 (guidance scale 6)",
        "teacher: 8 network calls to encode and 16 network calls to decode",
    ] {
        assert!(out.contains(part), "{out}");
    }
    assert_eq!(err, "");
    restyle("a house", "house.png");
    let cell = |name: &str, column| coloured_cell(&folder.path().join(name), column);
    assert_ne!(cell("dog.png", 1), cell("dog.png", 2));
    assert_ne!(cell("dog.png", 2), cell("house.png", 2));
    let (_, err) = restyle(&format!("{}zebra", "dog ".repeat(80)), "long.png");
    assert!(err.contains("77 tokens") && err.contains("zebra"), "{err}");
}

#[test]
fn models_that_do_not_go_together_are_refused() {
    let folder = workspace();
    let [sd1, sd2, inpaint] = ["sd1", "sd2", "inpaint"].map(golden_path);
    for (models, parts) in [
        (
            &["--encoder", "encoder", "--decoder", &sd1][..],
            ["one generates from prompts", "same teacher"],
        ),
        (
            &["--encoder", &sd1, "--decoder", &sd2],
            ["different autoencoders", "same teacher"],
        ),
        (&["--teacher", &inpaint], ["--teacher", "fewstep inpaint"]),
        (
            &["--teacher", &sd1, "--teacher-steps", "2000"],
            ["2000 steps", "at most"],
        ),
    ] {
        refuse(folder.path(), &[&TASK[..], models].concat(), &parts);
    }
}
