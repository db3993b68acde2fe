//! `fewstep quickstart` through the real program: the whole method with hardly any training.

#![allow(clippy::unwrap_used)]

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

/// Two updates of small batches for each phase, and 4 images for each result, with two w. Where a student
/// is matched, it moves once.
const SMALL: [&str; 9] = [
    "--samples=4",
    "--w=0.5",
    "--set=guided.updates=2",
    "--set=guided.optim.batch=8",
    "--set=progressive.updates=2",
    "--set=progressive.optim.batch=8",
    "--set=run.log_every=1",
    "--seed=7",
    "--out=run",
];

const MATCHED: [&str; 3] = [
    "--set-matching=updates=3",
    "--set-matching=optim.batch=8",
    "--set-matching=run.log_every=3",
];

fn quickstart(folder: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fewstep"))
        .current_dir(folder)
        .arg("quickstart")
        .args(words)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_run_writes_students_images_results_and_a_report() {
    let folder = tempfile::tempdir().unwrap();
    let output = quickstart(folder.path(), &[&SMALL[..], &MATCHED].concat());
    let (out, log) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{log}");
    let run = folder.path().join("run");
    check_files(&run);
    check_results(&run);
    check_report(&run);
    assert!(
        out.contains("the matched student's classifier FID") && out.contains("times with w = 0.5."),
        "{out}"
    );
    // Not a terminal: one line for each stage.
    assert!(
        log.contains("1/21 guided: 2 updates in")
            && log.contains("4/21 matched: 3 updates in")
            && log.contains("6/21 matched-steps-1: 2 updates in")
            && log.contains("21/21 the same seeds"),
        "{log}"
    );

    matched_student_is_taken(folder.path());
    refused_without_resume(folder.path());
    resumed_with_nothing_left_to_measure(folder.path());
}

fn check_files(run: &Path) {
    let students = [8, 4].map(|steps| format!("models/steps-{steps}/fewstep.json"));
    let matched = [4, 2, 1].map(|steps| format!("models/matched-steps-{steps}/fewstep.json"));
    let teacher = [64, 8, 4].map(|steps| format!("samples/teacher-{steps}.png"));
    let student = [8, 4].map(|steps| format!("samples/student-{steps}.png"));
    let of_matched = [4, 2, 1].map(|steps| format!("samples/matched-student-{steps}.png"));
    let others = [
        "recipe.toml",
        "metrics.jsonl",
        "plot.svg",
        "models/guided/fewstep.json",
        "matched-4/metrics.jsonl",
        "matched-4/halved/metrics.jsonl",
    ];
    for file in students
        .iter()
        .chain(&matched)
        .chain(&teacher)
        .chain(&student)
        .chain(&of_matched)
        .map(String::as_str)
        .chain(others)
    {
        assert!(run.join(file).is_file(), "{file} is missing");
    }
}

fn check_results(run: &Path) {
    let results = std::fs::read_to_string(run.join("results.json")).unwrap();
    let rows: Vec<Value> = serde_json::from_str(&results).unwrap();
    let ways: Vec<(&str, u64, u64, f64)> = rows
        .iter()
        .map(|row| {
            let number = |key: &str| row[key].as_u64().unwrap();
            (
                row["model"].as_str().unwrap(),
                number("steps"),
                number("network_calls"),
                row["w"].as_f64().unwrap(),
            )
        })
        .collect();
    let expected = [
        ("teacher", 64, 128, 0.5),
        ("student", 8, 8, 0.5),
        ("student", 4, 4, 0.5),
        ("matched", 4, 4, 0.5),
        ("matched", 2, 2, 0.5),
        ("matched", 1, 1, 0.5),
        ("teacher", 64, 128, 1.0),
        ("teacher", 8, 16, 1.0),
        ("teacher", 4, 8, 1.0),
        ("student", 8, 8, 1.0),
        ("student", 4, 4, 1.0),
        ("matched", 4, 4, 1.0),
        ("matched", 2, 2, 1.0),
        ("matched", 1, 1, 1.0),
    ];
    assert_eq!(ways, expected);
    for row in &rows {
        assert_eq!(row["samples"], 4);
        let fidelity = &row["fidelity"];
        assert_eq!(fidelity.is_object(), row["model"] != "teacher", "{row}");
        if fidelity.is_object() {
            assert!(fidelity["mse"]["mean"].as_f64().unwrap() > 0.0);
            assert!(fidelity["effective_w"][0]["mean"].is_f64());
            assert_eq!(
                (&fidelity["images"], &fidelity["teacher_steps"]),
                (&4.into(), &64.into())
            );
        }
        assert!(
            row["fid"].as_f64().unwrap() > 0.0 && row["seconds_per_image"].as_f64().unwrap() > 0.0
        );
        assert!(row["sampler"].is_string());
        assert!(row["features"].as_str().unwrap().contains("classifier"));
    }
}

fn check_report(run: &Path) {
    let page = std::fs::read_to_string(run.join("report.html")).unwrap();
    assert_eq!(page.matches("data:image/png;base64,").count(), 8);
    assert_eq!(page.matches(r#"<figure class="loss">"#).count(), 6);
    let (_, fidelity) = page.split_once("Is the student its teacher?").unwrap();
    assert_eq!(fidelity.matches(r#"<tr class="student">"#).count(), 4);
    assert_eq!(
        fidelity
            .matches(r#"<tr class="matched student"><td>matched student</td>"#)
            .count(),
        6
    );
    for foreign in ["http", "<script", "<link", "url("] {
        assert!(!page.contains(foreign), "{foreign} in the report");
    }
}

/// The plain student of 4 steps stays, and the matched one is another network.
fn matched_student_is_taken(folder: &Path) {
    let sample = Command::new(env!("CARGO_BIN_EXE_fewstep"))
        .current_dir(folder)
        .args([
            "sample",
            "--model=run",
            "--steps=4",
            "--count=1",
            "--out=image.png",
        ])
        .output()
        .unwrap();
    let log = text(&sample.stderr);
    assert!(sample.status.success(), "{log}");
    assert!(
        log.contains("matched-steps-4 is taken; the other is run/models/steps-4"),
        "{log}"
    );
    let model = |name: &str, file: &str| {
        let models = folder.join("run/models");
        std::fs::read(models.join(name).join(file)).unwrap()
    };
    let weights = |name| model(name, "unet/diffusion_pytorch_model.safetensors");
    assert_ne!(weights("matched-steps-4"), weights("steps-4"));
    let recipe: Value = serde_json::from_slice(&model("matched-steps-4", "fewstep.json")).unwrap();
    assert_eq!(recipe["provenance"]["method"], "matching", "{recipe}");
    let stored = std::fs::read_to_string(folder.join("run/matched-4/recipe.toml")).unwrap();
    assert!(
        stored.contains(r#"student = "run/models/steps-4""#),
        "{stored}"
    );
    assert!(stored.contains("seed = 7"), "{stored}");
    // Halved from the matched one, for its range of w.
    let student: Value = serde_json::from_slice(&model("matched-steps-1", "fewstep.json")).unwrap();
    assert_eq!(student["guidance"], recipe["guidance"]);
    let stored = std::fs::read_to_string(folder.join("run/matched-4/halved/recipe.toml")).unwrap();
    assert!(
        stored.contains(r#"teacher = "run/models/matched-steps-4""#)
            && stored.contains("student_prediction"),
        "{stored}"
    );
}

fn refused_without_resume(folder: &Path) {
    let output = quickstart(folder, &SMALL);
    assert_eq!(output.status.code(), Some(2));
    let message = text(&output.stderr);
    assert!(
        message.contains("already holds a run") && message.contains("--resume"),
        "{message}"
    );
    // Later runs started from what earlier ones left.
    for (changed, said) in [
        (&["--plain"][..], "without --plain"),
        (
            &["--set-matching=matching.steps=2"],
            "--set-matching matching.steps=4",
        ),
        (
            &["--set=progressive.updates=3"],
            "cannot have other updates",
        ),
        (&["--set-matching=updates=4"], "begun with 3 updates"),
    ] {
        let few = MATCHED.iter().filter(|_| changed != ["--plain"]).copied();
        let few: Vec<&str> = SMALL.into_iter().chain(few).collect();
        let output = quickstart(folder, &[&few[..], changed, &["--resume"]].concat());
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.contains(said), "{changed:?}: {message}");
    }
    let other_seed = ["--resume", "--seed=8", "--out=run"];
    let output = quickstart(folder, &other_seed);
    assert_eq!(output.status.code(), Some(2), "another recipe");
}

fn resumed_with_nothing_left_to_measure(folder: &Path) {
    let file = folder.join("run/results.json");
    let before = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(folder.join("run/report.html")).unwrap();
    let words = [&SMALL[..], &MATCHED, &["--resume"]].concat();
    let output = quickstart(folder, &words);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(
        std::fs::read_to_string(&file).unwrap(),
        before,
        "the same rows, times included"
    );
    assert!(folder.join("run/report.html").is_file());
}

/// Without matching there are the plain students only. One may be matched later, and halved then; the
/// plain ones stay.
#[test]
fn a_plain_run_can_be_matched_later() {
    let folder = tempfile::tempdir().unwrap();
    let few = [&SMALL[..], &["--samples=2", "--w=1"]].concat();
    let few: Vec<&str> = few
        .into_iter()
        .filter(|word| !["--samples=4", "--w=0.5"].contains(word))
        .collect();
    let output = quickstart(folder.path(), &[&few[..], &["--plain"]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let run = folder.path().join("run");
    let results = || std::fs::read_to_string(run.join("results.json")).unwrap();
    let plain: Vec<Value> = serde_json::from_str(&results()).unwrap();
    assert_eq!(plain.len(), 7);
    assert!(!run.join("models/matched-steps-4").exists() && !run.join("matched-4").exists());
    assert!(!text(&output.stdout).contains("matched"));

    let output = quickstart(folder.path(), &[&few[..], &MATCHED, &["--resume"]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let rows: Vec<Value> = serde_json::from_str(&results()).unwrap();
    assert_eq!(rows[..7], plain[..], "measured once");
    let added = rows[7..].iter().map(|row| (&row["model"], &row["steps"]));
    let matched = &"matched".into();
    let expected = [4, 2, 1].map(|steps: u64| Value::from(steps));
    assert!(added.eq(expected.iter().map(|steps| (matched, steps))));
}

/// A student that was trained further is measured again.
#[test]
fn results_are_those_of_the_models_that_are_there() {
    let folder = tempfile::tempdir().unwrap();
    let few = [&SMALL[..], &["--plain", "--set=progressive.end_steps=8"]].concat();
    let fid = |updates: &str, words: &[&str]| {
        let updates = format!("--set=progressive.updates={updates}");
        let output = quickstart(folder.path(), &[&few[..], &[&updates], words].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        let results = std::fs::read_to_string(folder.path().join("run/results.json")).unwrap();
        let rows: Vec<Value> = serde_json::from_str(&results).unwrap();
        let student = rows.iter().find(|row| row["model"] == "student");
        student.unwrap()["fid"].as_f64().unwrap()
    };
    let before = fid("2", &[]);
    assert_ne!(fid("4", &["--resume"]), before);
}

#[test]
fn a_matching_that_cannot_work_is_refused_before_anything_is_begun() {
    let folder = tempfile::tempdir().unwrap();
    for (words, said) in [
        (
            &["--set-matching=matching.student=runs/x"][..],
            "fewstep distill",
        ),
        (&["--set-matching=method=adversarial"], "fewstep distill"),
        (&["--set-matching=matching.steps=3"], "(8, 4, 2, 1)"),
        (
            &[
                "--set=progressive.end_steps=8",
                "--set=progressive.updates=2",
            ],
            "--plain",
        ),
        (&["--set-matching=run.mirror=copy"], "--set"),
        (
            &["--set-matching=matching.critic_updates=0"],
            "critic_updates",
        ),
        (
            &["--plain", "--set-matching=updates=3"],
            "cannot be used with",
        ),
    ] {
        let output = quickstart(folder.path(), words);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {message}");
        assert!(message.contains(said), "{words:?}: {message}");
    }
    assert!(!folder.path().join("runs").exists(), "nothing was begun");
}

#[test]
fn other_teachers_and_data_are_for_distill() {
    let folder = tempfile::tempdir().unwrap();
    let output = quickstart(folder.path(), &["--set=data.path=photos"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("fewstep distill"));
    let output = quickstart(
        folder.path(),
        &[
            "--set=progressive.start_steps=12",
            "--set=progressive.end_steps=8",
        ],
    );
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("halved"));
    let output = quickstart(folder.path(), &["--w=0.5,5"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("--w 5 is outside"));
    assert!(!folder.path().join("runs").exists(), "nothing was begun");
}
