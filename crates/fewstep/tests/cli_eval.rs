//! `fewstep eval` through the real program.

mod tiny;
mod workspace;

use fewstep_data::FASHION_MNIST_CLASSES;
use fewstep_diffusion::DistilledFor;
use serde_json::Value;
use std::path::Path;
use tempfile::TempDir;
use tiny::{remade, save, student, teacher, write_image};
use workspace::{refuse, succeed};

/// Images of each class of the real data.
const REAL: usize = 6;

/// A folder with a student of 32x32 images in two classes, and real images of these classes.
fn workspace() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let model = student(DistilledFor::Deterministic, Some(2));
    save(
        &remade(&model, 4, [1, 32, 32], &["a", "b"]),
        folder.path(),
        "student",
    );
    for kind in 0..2 * REAL {
        let class = ["a", "b"][kind % 2];
        write_image(
            &folder.path().join(format!("real/{class}/{kind}.png")),
            32,
            kind,
        );
    }
    folder
}

/// Measures the student against the real images and gives the rows.
fn measure(folder: &Path, words: &[&str]) -> Vec<Value> {
    let all = [
        "eval", "--model", "student", "--data", "real", "--count", "8", "--json",
    ];
    let (out, _) = succeed(folder, &[&all[..], words].concat());
    serde_json::from_str(&out).expect("JSON rows")
}

fn number(row: &Value, key: &str) -> f64 {
    row[key]
        .as_f64()
        .unwrap_or_else(|| panic!("no number `{key}` in {row}"))
}

#[test]
fn every_number_of_steps_is_measured_with_every_w() {
    let folder = workspace();
    let rows = measure(
        folder.path(),
        &["--steps", "1,2", "--w", "0,2", "--out", "new/results.json"],
    );
    let settings: Vec<(f64, f64)> = rows
        .iter()
        .map(|r| (number(r, "steps"), number(r, "w")))
        .collect();
    assert_eq!(settings, [(1.0, 0.0), (1.0, 2.0), (2.0, 0.0), (2.0, 2.0)]);
    for row in &rows {
        assert_eq!(row["model"], "student");
        assert_eq!(row["sampler"], "deterministic");
        assert_eq!(row["network_calls"], row["steps"]);
        assert_eq!(row["samples"], 8);
        assert_eq!(row["reference_samples"], 2 * REAL);
        assert!(
            row["features"]
                .as_str()
                .is_some_and(|name| name.contains("fashion-mnist")),
            "{row}"
        );
        assert!(number(row, "fid") > 0.0 && number(row, "seconds_per_image") > 0.0);
        assert!((0.0..=1.0).contains(&number(row, "precision")));
        assert!((0.0..=1.0).contains(&number(row, "recall")));
        assert!((1.0..=10.0).contains(&number(row, "classifier_score")));
        assert!(number(row, "kid").is_finite());
    }
    assert!(
        number(&rows[0], "fid") != number(&rows[1], "fid"),
        "w makes no difference"
    );
    let file = std::fs::read_to_string(folder.path().join("new/results.json")).expect("a file");
    assert_eq!(
        serde_json::from_str::<Vec<Value>>(&file).expect("JSON"),
        rows
    );
}

#[test]
fn the_table_names_its_metrics_and_their_deviation_over_seeds() {
    let folder = workspace();
    let words = [
        "eval", "--model", "student", "--data", "real", "--count", "8", "--seeds", "0,1",
    ];
    let (out, err) = succeed(folder.path(), &words);
    for part in [
        "classifier FID",
        "classifier KID",
        "classifier score",
        "±",
        "8 images against 12 real ones",
    ] {
        assert!(out.contains(part), "no `{part}` in:\n{out}");
    }
    assert!(err.contains("fewer than the 128 features"), "{err}");
    let rows = measure(folder.path(), &["--seeds", "0,1"]);
    assert!(
        number(&rows[0], "fid") != number(&rows[1], "fid"),
        "the seed makes no difference"
    );
}

#[test]
fn metrics_depend_neither_on_the_batch_nor_on_the_cache() {
    let folder = workspace();
    let metrics = |words: &[&str]| {
        let row = measure(folder.path(), words).remove(0);
        ["fid", "kid", "precision", "recall", "classifier_score"].map(|key| number(&row, key))
    };
    let fresh = metrics(&["--no-cache"]);
    assert!(!folder.path().join("cache").exists());
    assert_eq!(metrics(&["--batch", "3"]), fresh);
    let cache = folder.path().join("cache/fewstep");
    let files = || {
        std::fs::read_dir(&cache)
            .expect("a cache")
            .flatten()
            .map(|entry| entry.path())
    };
    assert_eq!(files().count(), 2);
    assert_eq!(metrics(&[]), fresh);
    // A damaged cache is made again.
    files().for_each(|file| std::fs::write(file, "damaged").expect("written"));
    assert_eq!(metrics(&[]), fresh);
    assert!(files().all(|file| std::fs::metadata(file).is_ok_and(|m| m.len() > 1000)));
}

#[test]
fn cached_statistics_are_a_reference() {
    let folder = workspace();
    let by_data = measure(folder.path(), &[]).remove(0);
    let cache = std::fs::read_dir(folder.path().join("cache/fewstep")).expect("a cache");
    let file = cache
        .flatten()
        .map(|entry| entry.path().display().to_string())
        .find(|name| name.ends_with(".safetensors"))
        .expect("statistics");
    let words = [
        "eval",
        "--model",
        "student",
        "--count",
        "8",
        "--json",
        "--reference",
        &file,
    ];
    let (out, _) = succeed(folder.path(), &words);
    let row = serde_json::from_str::<Vec<Value>>(&out)
        .expect("JSON")
        .remove(0);
    assert!((number(&row, "fid") / number(&by_data, "fid") - 1.0).abs() < 1e-9);
    assert!(row["kid"].is_null() && row["precision"].is_null());
}

#[test]
fn a_model_of_fashion_is_measured_against_the_embedded_statistics() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = remade(&teacher(), 4, [1, 32, 32], &FASHION_MNIST_CLASSES);
    save(&model, folder.path(), "teacher");
    let words = [
        "eval", "--model", "teacher", "--steps", "2", "--count", "10", "--json",
    ];
    let (out, _) = succeed(folder.path(), &words);
    let row = serde_json::from_str::<Vec<Value>>(&out)
        .expect("JSON")
        .remove(0);
    assert_eq!(
        (&row["model"], &row["sampler"]),
        (&"teacher".into(), &"ddim".into())
    );
    assert_eq!(
        (
            number(&row, "network_calls"),
            number(&row, "reference_samples")
        ),
        (2.0, 60_000.0)
    );
}

#[test]
fn a_folder_of_images_equals_itself_and_not_another() {
    let folder = workspace();
    let compare = |images: &str| {
        let words = ["eval", "--images", images, "--data", "real", "--json"];
        let (out, _) = succeed(folder.path(), &words);
        serde_json::from_str::<Vec<Value>>(&out)
            .expect("JSON")
            .remove(0)
    };
    let same = compare("real");
    assert!(number(&same, "fid") < 1e-3, "{same}");
    assert_eq!(
        (number(&same, "precision"), number(&same, "recall")),
        (1.0, 1.0)
    );
    // The flag of earlier versions.
    let words = ["eval", "--pictures", "real", "--data", "real", "--json"];
    let (out, _) = succeed(folder.path(), &words);
    let old = serde_json::from_str::<Vec<Value>>(&out).expect("JSON");
    assert_eq!(old, [same]);
    let other = compare("real/a");
    assert!(number(&other, "fid") > 1.0, "{other}");
    assert_eq!(other["samples"], REAL);
    let (out, _) = succeed(
        folder.path(),
        &["eval", "--images", "real", "--data", "folder:real"],
    );
    assert!(
        out.contains("real: 12 images against 12 real ones (real "),
        "{out}"
    );
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let folder = workspace();
    std::fs::create_dir(folder.path().join("empty")).expect("a folder");
    std::fs::write(folder.path().join("text"), "no tensors").expect("written");
    std::fs::create_dir(folder.path().join("bad")).expect("a folder");
    std::fs::write(folder.path().join("bad/one.png"), "no image").expect("written");
    save(
        &remade(&teacher(), 4, [3, 32, 32], &["a", "b"]),
        folder.path(),
        "colour",
    );
    for (words, parts) in [
        (
            &["--model", "student"][..],
            ["nothing to measure against", "--data"],
        ),
        (
            &["--model", "student", "--data", "empty"],
            ["empty", "no images"],
        ),
        (
            &["--model", "student", "--data", "bad"],
            ["one.png", "unreadable image"],
        ),
        (
            &["--model", "student", "--data", "nowhere"],
            ["nowhere", "No such file"],
        ),
        (
            &["--model", "student", "--data", "cifar:there"],
            ["`cifar` is no kind", "cifar10"],
        ),
        (
            &["--model", "student", "--reference", "text"],
            ["text", "safetensors"],
        ),
        (
            &[
                "--model",
                "student",
                "--data",
                "real",
                "--reference",
                "text",
            ],
            ["--data", "cannot be used with"],
        ),
        (
            &[
                "--model",
                "student",
                "--data",
                "real",
                "--features",
                "inception",
            ],
            ["--features inception", "--weights FILE"],
        ),
        (
            &[
                "--model",
                "student",
                "--data",
                "real",
                "--features",
                "inception",
                "--weights",
                "text",
            ],
            ["text", "safetensors"],
        ),
        (
            &[
                "--model",
                "student",
                "--data",
                "real",
                "--sampler",
                "stochastic",
            ],
            ["deterministic", "stochastic"],
        ),
        (
            &["--model", "student", "--data", "real", "--count", "3"],
            ["at least 4 samples", "got 3"],
        ),
        (
            &[
                "--model",
                "student",
                "--data",
                "real",
                "--out",
                "text/rows.json",
            ],
            ["text", "choose another place"],
        ),
        (
            &["--model", "colour", "--data", "real"],
            ["3 channel(s)", "--features"],
        ),
        (
            &[
                "--model",
                "colour",
                "--data",
                "real",
                "--features",
                "fashion-mnist-classifier",
            ],
            ["grey 32x32", "[3, 32, 32]"],
        ),
        (
            &["--images", "empty", "--data", "real"],
            ["empty", "no images"],
        ),
        (
            &["--images", "real", "--steps", "2"],
            ["--images", "cannot be used with"],
        ),
        (&["--data", "real"], ["--model", "--images"]),
    ] {
        refuse(folder.path(), &[&["eval"][..], words].concat(), &parts);
    }
}

#[test]
fn the_reference_of_another_network_is_refused() {
    let folder = workspace();
    measure(folder.path(), &[]);
    let file = std::fs::read_dir(folder.path().join("cache/fewstep"))
        .expect("a cache")
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|e| e == "safetensors"))
        .expect("statistics");
    let mut bytes = std::fs::read(&file).expect("a file");
    let key = br#""network_hash":""#;
    let at = bytes
        .windows(key.len())
        .position(|part| part == key)
        .expect("the hash")
        + key.len();
    bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
    std::fs::write(folder.path().join("other.safetensors"), bytes).expect("written");
    let words = [
        "eval",
        "--model",
        "student",
        "--reference",
        "other.safetensors",
        "--count",
        "8",
    ];
    refuse(folder.path(), &words, &["made with", "make them again"]);
}

#[test]
fn warnings_come_before_the_work() {
    let folder = workspace();
    let words = [
        "eval", "--model", "student", "--data", "real", "--count", "8", "--w", "7",
    ];
    let (_, err) = succeed(folder.path(), &words);
    assert!(err.contains("w = 7 (guidance scale 8)"), "{err}");
}
