//! What `fewstep eval` measures, and what it refuses before any work.

mod tiny;
mod workspace;

use fewstep_diffusion::DistilledFor;
use serde_json::Value;
use std::path::Path;
use tiny::{remade, save, student, write_image};
use workspace::{refuse, succeed, write_pattern};

const IMAGES: usize = 8;

/// A folder with a folder of grey images.
fn workspace() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for kind in 0..IMAGES {
        write_image(&folder.path().join(format!("grey/{kind}.png")), 32, kind);
    }
    folder
}

fn measured(folder: &Path, words: &[&str]) -> (Value, String) {
    let (out, err) = succeed(folder, &[&["eval", "--json"], words].concat());
    (serde_json::from_str(&out).expect("JSON"), err)
}

/// Images next to sub-folders are measured, and not those in the sub-folders; splits are no classes.
#[test]
fn the_images_of_a_folder_are_measured_and_not_those_below_it() {
    let folder = workspace();
    let folder = folder.path();
    for kind in 0..4 {
        write_image(&folder.join(format!("grey/grids/{kind}.png")), 32, kind + 9);
        write_image(&folder.join(format!("split/train/{kind}.png")), 32, kind);
        write_image(&folder.join(format!("split/test/{kind}.png")), 32, kind + 4);
    }
    // What the log quotes shows its control characters.
    std::fs::write(folder.join("grey/\u{1b}[31m\r.heic"), "").expect("written");
    let (rows, err) = measured(folder, &["--images", "grey", "--data", "split/train"]);
    assert!(!err.contains(['\u{1b}', '\r']), "{err:?}");
    assert!(err.contains("heic"), "{err}");
    assert_eq!(rows[0]["samples"], IMAGES);
    assert!(err.contains("not the 4 in its sub-folders"), "{err}");
    assert!(err.contains("fewer than the 128 features"), "{err}");
    let (rows, _) = measured(folder, &["--pictures", "split", "--data", "split/test"]);
    assert_eq!(rows[0]["samples"], 8);
}

#[test]
fn colour_is_nothing_for_the_embedded_classifier() {
    let folder = workspace();
    let folder = folder.path();
    for number in 0..4 {
        write_pattern(
            &folder.join(format!("colour/{number}.png")),
            number,
            [30, 30],
        );
    }
    let parts = ["colour holds images in colour", "--features inception"];
    refuse(
        folder,
        &["eval", "--images", "colour", "--data", "grey"],
        &parts,
    );
    refuse(
        folder,
        &["eval", "--images", "grey", "--data", "colour"],
        &parts,
    );
    let words = ["--images", "colour", "--data", "grey"];
    let asked = [&words[..], &["--features", "fashion-mnist-classifier"]].concat();
    assert_eq!(measured(folder, &asked).0[0]["samples"], 4);
}

/// The same setting twice is one row, without a deviation over seeds that there are not.
#[test]
fn the_same_setting_is_measured_once() {
    let folder = workspace();
    let folder = folder.path();
    let model = student(DistilledFor::Any, None);
    save(&remade(&model, 4, [1, 32, 32], &[]), folder, "student");
    let words = ["--model", "student", "--data", "grey", "--count", "4"];
    let repeated = ["--steps", "1,1,2,1", "--seeds", "3,3", "--w", "1,1"];
    let (rows, _) = measured(folder, &[&words[..], &repeated].concat());
    let steps: Vec<&Value> = rows
        .as_array()
        .expect("rows")
        .iter()
        .map(|r| &r["steps"])
        .collect();
    assert_eq!(steps, [1, 2]);
    for (flag, value, part) in [("--split", "test", "--data"), ("--size", "16", "--data")] {
        refuse(
            folder,
            &["eval", "--model", "student", flag, value],
            &[part],
        );
    }
}

/// Captioned images are real images too; images that were generated from their captions come in
/// whole turns.
#[test]
fn images_generated_in_turn_are_compared_with_captioned_ones() {
    let folder = workspace();
    let folder = folder.path();
    for number in 0..4 {
        let file = folder.join(format!("captioned/{number}.png"));
        write_image(&file, 32, number);
        std::fs::write(file.with_extension("txt"), format!("dog {number}")).expect("written");
    }
    let words = ["--data", "captioned:captioned", "--in-turn", "--images"];
    let (rows, _) = measured(folder, &[&words[..], &["grey"]].concat());
    assert_eq!(rows[0]["retrieval"]["texts"], 4);
    let (rows, _) = measured(folder, &[&words[..], &["captioned"]].concat());
    assert_eq!(rows[0]["retrieval"]["first"], 1.0);
    write_image(&folder.join("grey/more.png"), 32, 50);
    let refused = [&["eval"], &words[..], &["grey"]].concat();
    refuse(
        folder,
        &refused,
        &["9 images are no whole number of turns through the 4"],
    );
}
