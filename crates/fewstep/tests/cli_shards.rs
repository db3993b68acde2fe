//! Shards of images and of measurements, and what they make together.

mod tiny;
mod workspace;

use fewstep_diffusion::DistilledFor;
use serde_json::Value;
use std::path::Path;
use tempfile::TempDir;
use tiny::{remade, save, student, write_image};
use workspace::{copy, refuse, succeed};

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

const SAMPLE: [&str; 5] = ["sample", "--model", "student", "--count", "11"];
const EVAL: [&str; 12] = [
    "eval", "--model", "student", "--data", "real", "--count", "14", "--steps", "1,2", "--seeds",
    "0,1", "--quiet",
];

fn shard(folder: &Path, words: &[&str], shard: &str, out: &str) {
    succeed(folder, &[words, &["--shard", shard, "--out", out]].concat());
}

#[test]
fn images_of_shards_are_those_of_one_process() {
    let folder = workspace();
    let folder = folder.path();
    for index in ["2/3", "0/3", "1/3", "0/3"] {
        shard(folder, &SAMPLE, index, "set");
    }
    let (said, _) = succeed(folder, &["merge", "set"]);
    assert!(said.contains("set: 11 images of 3 shards"), "{said}");
    succeed(folder, &[&SAMPLE[..], &["--out-dir", "one"]].concat());
    for number in 0..11 {
        let bytes = |place: &str| std::fs::read(folder.join(format!("{place}/{number:06}.png")));
        assert!(
            bytes("set").expect("there") == bytes("one").expect("there"),
            "{number}"
        );
    }
    // Shards of several machines are copied into one folder.
    shard(folder, &SAMPLE, "0/2", "a");
    shard(folder, &SAMPLE, "1/2", "b");
    refuse(folder, &["merge", "a", "b"], &["several folders", "--out"]);
    succeed(folder, &["merge", "a", "b", "--out", "whole"]);
    let files = std::fs::read_dir(folder.join("whole"))
        .expect("listed")
        .flatten();
    let images = files.filter(|file| {
        file.path()
            .extension()
            .is_some_and(|ending| ending == "png")
    });
    assert_eq!(images.count(), 11);
    // A folder of shards is a folder of images for every other command.
    let eval = ["eval", "--images", "set", "--data", "real", "--quiet"];
    assert!(succeed(folder, &eval).0.contains("11 images"));
}

#[test]
fn sets_with_holes_and_duplicates_are_refused() {
    let folder = workspace();
    let folder = folder.path();
    for index in ["0/4", "3/4"] {
        shard(folder, &SAMPLE, index, "set");
    }
    refuse(
        folder,
        &["merge", "set"],
        &["2 of 4 shards are missing: 1-2"],
    );
    for index in ["1/4", "2/4"] {
        shard(folder, &SAMPLE, index, "set");
    }
    copy(&folder.join("set"), &folder.join("copy"));
    let twice = ["merge", "set", "copy", "--out", "all"];
    refuse(folder, &twice, &["two of shard 0/4", "copy"]);
    // Of another seed, and of another number of shards.
    let other = [&SAMPLE[..], &["--seed", "1"]].concat();
    shard(folder, &other, "1/4", "set");
    refuse(
        folder,
        &["merge", "set"],
        &["of another set", "the seed is 0 there and 1 here"],
    );
    shard(folder, &SAMPLE, "1/4", "set");
    shard(folder, &SAMPLE, "0/5", "set");
    refuse(folder, &["merge", "set"], &["they are of two sets"]);
    std::fs::remove_file(folder.join("set/shard-00000-of-00005.json")).expect("removed");
    // An image that is gone, or is not the one that was written.
    let image = folder.join("set/000003.png");
    let bytes = std::fs::read(&image).expect("there");
    std::fs::copy(folder.join("set/000004.png"), &image).expect("copied");
    refuse(
        folder,
        &["merge", "set"],
        &["is not the image that shard 1/4 wrote"],
    );
    std::fs::remove_file(&image).expect("removed");
    refuse(
        folder,
        &["merge", "set"],
        &["shard 1/4 is not whole, run it again"],
    );
    std::fs::write(&image, bytes).expect("written");
    succeed(folder, &["merge", "set"]);
    std::fs::write(folder.join("set/shard-00001-of-00004.json"), "{}").expect("written");
    refuse(
        folder,
        &["merge", "set"],
        &["shard-00001-of-00004.json is no shard"],
    );
}

#[test]
fn wrong_shards_are_refused_before_any_work() {
    let folder = workspace();
    let folder = folder.path();
    let sharded = |shard: &'static str, more: &[&'static str]| {
        [&SAMPLE[..], &["--shard", shard], more].concat()
    };
    refuse(
        folder,
        &sharded("4/4", &["--out", "set"]),
        &["counted from 0", "0/4 to 3/4"],
    );
    refuse(
        folder,
        &sharded("x", &["--out", "set"]),
        &["a shard such as 0/64"],
    );
    refuse(
        folder,
        &sharded("0/12", &["--out", "set"]),
        &["at most 11 shards"],
    );
    refuse(
        folder,
        &sharded("0/2", &[]),
        &["give a folder for them with --out"],
    );
    refuse(
        folder,
        &sharded("0/2", &["--out", "ftp://set"]),
        &["ftp://"],
    );
    refuse(folder, &["merge", "real"], &["no shard is in real"]);
    refuse(folder, &["merge", "nowhere"], &["cannot list nowhere"]);
    assert!(!folder.join("set").exists());
}

/// The rows that a command writes to a file, without times.
fn rows(folder: &Path, words: &[&str]) -> Vec<Value> {
    succeed(folder, &[words, &["--out", "rows.json"]].concat());
    let text = std::fs::read_to_string(folder.join("rows.json")).expect("written");
    let mut rows: Vec<Value> = serde_json::from_str(&text).expect("rows");
    rows.iter_mut()
        .for_each(|row| row["seconds_per_image"] = Value::Null);
    rows
}

#[test]
fn metrics_of_shards_are_those_of_one_process() {
    let folder = workspace();
    let folder = folder.path();
    let mut one = rows(folder, &EVAL);
    for index in ["0/3", "1/3", "2/3"] {
        shard(folder, &EVAL, index, "shards");
    }
    let mut merged = rows(folder, &["merge", "shards"]);
    assert_eq!(merged.len(), 4);
    for (one, merged) in one.iter_mut().zip(&mut merged) {
        // Networks round as images share a call: in the last digits of single precision.
        for metric in ["fid", "kid", "precision", "recall", "classifier_score"] {
            let [a, b] = [&one[metric], &merged[metric]].map(|value| value.as_f64());
            let (a, b) = (a.expect("a number"), b.expect("a number"));
            assert!(
                (a - b).abs() <= 1e-5 * a.abs().max(1.0),
                "{metric}: {a} {b}"
            );
            one[metric] = Value::Null;
            merged[metric] = Value::Null;
        }
        assert_eq!(one, merged);
    }
    let (table, _) = succeed(folder, &["merge", "shards"]);
    assert!(table.contains("14 images against 12 real ones"), "{table}");
    assert!(table.contains(" ± "), "over two seeds: {table}");
    // A shard of another measurement, and a hole.
    let other = [&EVAL[..], &["--w", "2"]].concat();
    shard(folder, &other, "1/3", "shards");
    refuse(
        folder,
        &["merge", "shards"],
        &["another measurement", "how they are sampled differ"],
    );
    std::fs::remove_file(folder.join("shards/shard-00001-of-00003.safetensors")).expect("there");
    refuse(
        folder,
        &["merge", "shards"],
        &["1 of 3 shards are missing: 1"],
    );
    std::fs::write(folder.join("shards/shard-00001-of-00003.safetensors"), "no").expect("written");
    refuse(
        folder,
        &["merge", "shards"],
        &["shard-00001-of-00003.safetensors is no shard"],
    );
}
