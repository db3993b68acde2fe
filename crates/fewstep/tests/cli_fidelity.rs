//! `fewstep eval --fidelity` through the real program.

mod tiny;
mod workspace;

use fewstep_diffusion::{DistilledFor, Role};
use serde_json::Value;
use std::path::Path;
use tempfile::TempDir;
use tiny::{changed, remade, save, student, teacher};
use workspace::{refuse, succeed};

/// A folder with a teacher, the same network as a student for 4 steps, and another student.
fn workspace() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    save(&teacher(), folder.path(), "teacher");
    let four = changed(&teacher(), |_, recipe| {
        recipe.role = Role::Student {
            sampler: DistilledFor::Deterministic,
            steps: Some(4),
        };
    });
    save(&four, folder.path(), "four");
    let model = student(DistilledFor::Any, None);
    save(&model, folder.path(), "student");
    folder
}

fn measure(folder: &Path, words: &[&str]) -> Vec<Value> {
    let all = ["eval", "--fidelity", "teacher", "--count", "6", "--json"];
    let (out, _) = succeed(folder, &[&all[..], words].concat());
    serde_json::from_str(&out).expect("JSON rows")
}

fn mean(row: &Value, key: &str) -> f64 {
    let mean = row[key]["mean"].as_f64();
    mean.unwrap_or_else(|| panic!("no mean of `{key}` in {row}"))
}

/// Effective w with its time.
fn effective(row: &Value) -> Vec<(f64, f64)> {
    let points = row["effective_w"].as_array().expect("a list");
    let number = |point: &Value, key: &str| point[key].as_f64().expect("a number");
    points
        .iter()
        .map(|point| (number(point, "t"), number(point, "mean")))
        .collect()
}

/// A teacher keeps all of its guidance at every time, and its images are its own at its own steps
/// only.
#[test]
fn a_teacher_is_its_own_equal() {
    let folder = workspace();
    let words = ["--model", "teacher", "--steps", "8,2", "--w", "0,0.5,3"];
    let rows = measure(
        folder.path(),
        &[&words[..], &["--teacher-steps", "8"]].concat(),
    );
    assert_eq!(rows.len(), 6);
    for row in &rows {
        let asked = row["w"].as_f64().expect("w");
        let kept = effective(row);
        assert_eq!(
            kept.iter().map(|(t, _)| *t).collect::<Vec<_>>(),
            [1.0, 0.75, 0.5, 0.25, 0.1]
        );
        for (t, w) in kept {
            assert!((w - asked).abs() < 1e-3, "{w} for {asked} at {t}");
        }
        assert_eq!(
            (&row["samples"], &row["teacher_steps"]),
            (&6.into(), &8.into())
        );
        match row["steps"].as_u64() {
            Some(8) => {
                assert_eq!(mean(row, "mse"), 0.0);
                assert_eq!((mean(row, "contrast"), mean(row, "sharpness")), (1.0, 1.0));
                assert_eq!(row["colour"][0]["mean"], 0.0);
            }
            _ => assert!(mean(row, "mse") > 1e-4, "{row}"),
        }
    }
    // Six images of each seed, and the interval is over all.
    let words = ["--model", "teacher", "--steps", "2", "--seeds", "3,4"];
    let row = measure(folder.path(), &words).remove(0);
    assert_eq!(
        (&row["samples"], &row["mse"]["count"]),
        (&12.into(), &12.into())
    );
}

/// A w that no guidance explains is no figure to go by, and the table says so.
#[test]
fn a_network_of_other_weights_is_said_to_follow_nothing() {
    let folder = workspace();
    let said = |model: &str| {
        let words = ["--steps", "2", "--w", "0.5", "--count", "4"];
        let all = ["eval", "--model", model, "--fidelity", "teacher"];
        let (out, _) = succeed(folder.path(), &[&all[..], &words].concat());
        out.contains("trained too little, or for another teacher")
    };
    assert!(!said("teacher"));
    assert!(said("student"));
}

/// A student for N steps is judged by where its step lands: the teacher's own step is all of the
/// guidance, and two of the teacher's steps are another.
#[test]
fn students_of_stage_two_are_judged_by_their_steps() {
    let folder = workspace();
    let with = |steps: &str| {
        let words = ["--model", "four", "--w", "2", "--teacher-steps", steps];
        measure(folder.path(), &words).remove(0)
    };
    let row = with("4");
    // The N-step sampler ends at x̂ itself, DDIM at the schedule's least noise.
    assert!(mean(&row, "mse") < 1e-4, "{row}");
    let times: Vec<f64> = effective(&row).iter().map(|(t, _)| *t).collect();
    assert_eq!(times, [1.0, 0.75, 0.5, 0.25]);
    for (t, w) in effective(&row) {
        assert!((w - 2.0).abs() < 1e-3, "{w} at {t}");
    }
    let finer = with("8");
    assert!(mean(&finer, "mse") > mean(&row, "mse"));
    assert!(
        effective(&finer)
            .iter()
            .any(|(_, w)| (w - 2.0).abs() > 1e-3)
    );
}

#[test]
fn a_student_is_compared_in_a_table() {
    let folder = workspace();
    let words = [
        "eval",
        "--model",
        "student",
        "--fidelity",
        "teacher",
        "--count",
        "4",
        "--steps",
        "1,2",
        "--w",
        "0,1",
        "--teacher-steps",
        "4",
        "--out",
        "new/results.json",
    ];
    let (out, _) = succeed(folder.path(), &words);
    for part in [
        "MSE",
        "PSNR",
        "colour",
        "contrast",
        "sharpness",
        "The w that the model follows",
        "2 steps, w = 1:",
        "at t = 0.75",
        "4 images, each against the teacher's from the same noise",
        "4 steps, weights",
    ] {
        assert!(out.contains(part), "no `{part}` in:\n{out}");
    }
    let file = std::fs::read_to_string(folder.path().join("new/results.json")).expect("a file");
    let rows: Vec<Value> = serde_json::from_str(&file).expect("JSON");
    assert_eq!(rows.len(), 4);
    // The student's weights are its own.
    assert!(mean(&rows[0], "mse") > 1e-4);
    assert!(
        effective(&rows[0]) != effective(&rows[1]),
        "w makes no difference"
    );
    // The batch makes none.
    let words = [
        "--model",
        "student",
        "--steps",
        "2",
        "--w",
        "1",
        "--teacher-steps",
        "4",
    ];
    let [one, other] = ["1", "5"].map(|batch| {
        let row = measure(folder.path(), &[&words[..], &["--batch", batch]].concat()).remove(0);
        (row["mse"].clone(), effective(&row))
    });
    assert_eq!(one.0, other.0);
    for ((_, a), (_, b)) in one.1.iter().zip(&other.1) {
        assert!((a - b).abs() < 1e-3);
    }
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let folder = workspace();
    let names = remade(&teacher(), 2, [1, 16, 16], &["a", "b", "c"]);
    save(&names, folder.path(), "other");
    let eval = |model: &str, words: &[&str], parts: &[&str]| {
        let all = ["eval", "--model", model, "--fidelity", "teacher"];
        refuse(folder.path(), &[&all[..], words].concat(), parts);
    };
    eval("other", &[], &["teacher", "other classes"]);
    eval("student", &["--count", "1"], &["--count is 1"]);
    eval(
        "student",
        &["--count", "1000000000000"],
        &["of memory", "--count"],
    );
    eval("student", &["--data", "real"], &["omit --data"]);
    eval("student", &["--features", "inception"], &["--features"]);
    eval("student", &["--grid", "a.png"], &["--grid"]);
    let encoder = changed(&teacher(), |_, recipe| {
        recipe.role = Role::Student {
            sampler: DistilledFor::Encoder,
            steps: Some(4),
        };
    });
    save(&encoder, folder.path(), "encoder");
    eval("encoder", &[], &["encoder"]);
    refuse(
        folder.path(),
        &["eval", "--images", ".", "--fidelity", "teacher"],
        &["--fidelity"],
    );
    let words = ["eval", "--model", "student", "--teacher-steps", "4"];
    refuse(folder.path(), &words, &["--fidelity"]);
}

/// The embedded students are as near to the embedded teacher as they were when they were made, to
/// 5 %, and follow as much of its guidance.
#[test]
fn the_embedded_students_are_as_near_as_they_were() {
    let folder = tempfile::tempdir().expect("a folder");
    let models = [
        "--model",
        "builtin:fashion-mnist",
        "--fidelity",
        "builtin:fashion-mnist-teacher",
    ];
    let settings = [
        "--steps",
        "8,4,2,1",
        "--w",
        "1",
        "--count",
        "8",
        "--teacher-steps",
        "16",
    ];
    let words = [&["eval", "--json"][..], &models, &settings].concat();
    let (out, _) = succeed(folder.path(), &words);
    let rows: Vec<Value> = serde_json::from_str(&out).expect("JSON rows");
    let known = [
        (8, 0.01221, 0.853),
        (4, 0.01112, 0.929),
        (2, 0.01157, 0.950),
        (1, 0.01466, 0.936),
    ];
    assert_eq!(rows.len(), known.len());
    for (row, (steps, mse, at_noise)) in rows.iter().zip(known) {
        assert_eq!(row["steps"], steps);
        let found = mean(row, "mse");
        assert!(
            (found / mse - 1.0).abs() < 0.05,
            "{found} for {mse} at {steps}"
        );
        let (t, w) = effective(row)[0];
        assert!(
            t == 1.0 && (w - at_noise).abs() < 0.05,
            "{w} for {at_noise} at {steps}"
        );
    }
}
