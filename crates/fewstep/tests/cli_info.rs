//! `fewstep info` through the real program.

mod tiny;
mod workspace;

use fewstep_diffusion::{DistilledFor, Guidance};
use serde_json::Value;
use tiny::{save, student, teacher};
use workspace::{refuse, succeed};

/// The recipe of a run with three phases: guided, steps-2 and steps-1.
const RECIPE: &str = r#"
seed = 7
teacher = "some/teacher"
w = [0.0, 4.0]

[data]
kind = "folder"
path = "Images"

[guided]
updates = 1200
[guided.optim]
batch = 4
lr = 1e-3

[progressive]
start_steps = 4
end_steps = 1
updates = 50
[progressive.optim]
batch = 4
lr = 1e-3
"#;

fn log_line(phase: &str, update: u64) -> String {
    format!(
        r#"{{"phase":"{phase}","update":{update},"clock":4,"loss":0.125,"loss_by_time":[null],"gradient_norm":1.0,"lr":0.1,"samples_per_second":33.0}}"#
    )
}

#[test]
fn a_teacher_is_described() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut model = teacher();
    model.recipe.provenance.data = "shapes 0123".into();
    model.recipe.provenance.samples_seen = 1_234_567;
    save(&model, folder.path(), "teacher");
    let (out, _) = succeed(folder.path(), &["info", "teacher"]);
    for part in [
        "teacher: any sampler",
        "16x16 pixels, grey",
        "3: circle, square, star",
        "classifier-free: any w, 2 network calls a step",
        "levels 8 16, 1 residual block each",
        "v, the velocity",
        "cosine, continuous, log-SNR 20 to -20",
        &format!("hash {}", model.weights_hash()),
        "shapes 0123",
        "1,234,567 samples",
    ] {
        assert!(out.contains(part), "no `{part}` in:\n{out}");
    }
    let (out, _) = succeed(folder.path(), &["info", "teacher", "--json"]);
    let facts: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(facts["parameters"], model.parameters());
    assert_eq!(facts["recipe"]["role"]["kind"], "teacher");
    assert_eq!(facts["weights_hash"], model.weights_hash());
    let file = folder
        .path()
        .join("teacher")
        .join(fewstep_formats::WEIGHTS_FILE);
    assert_eq!(
        facts["file_bytes"],
        std::fs::metadata(&file).expect("a file").len()
    );
    // The weights file is a whole model.
    let weights = file.display().to_string();
    let (out, _) = succeed(folder.path(), &["info", &weights, "--json"]);
    assert_eq!(
        serde_json::from_str::<Value>(&out).expect("JSON")["recipe"],
        facts["recipe"]
    );
}

#[test]
fn students_say_how_they_must_be_sampled() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut fixed = student(DistilledFor::Stochastic, Some(1));
    fixed.recipe.guidance = Guidance::Fixed { w: 0.5 };
    for (model, parts) in [
        (
            student(DistilledFor::Deterministic, Some(4)),
            [
                "deterministic sampler in 4 steps",
                "w is an input: 0 to 4 (guidance scale 1 to 5)",
            ],
        ),
        (
            student(DistilledFor::Any, None),
            ["any number of steps", "default w = 1 (guidance scale 2)"],
        ),
        (
            student(DistilledFor::Encoder, Some(4)),
            ["from an image to noise in 4 steps", "restyle"],
        ),
        (
            fixed,
            [
                "stochastic sampler in 1 step",
                "w = 0.5 (guidance scale 1.5)",
            ],
        ),
    ] {
        save(&model, folder.path(), "model");
        let (out, _) = succeed(folder.path(), &["info", "model"]);
        for part in parts {
            assert!(out.contains(part), "no `{part}` in:\n{out}");
        }
    }
}

#[test]
fn a_run_shows_how_far_it_has_come() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = folder.path().join("run");
    // 1,200 updates of the first phase and 5 of the second, of 4 samples each.
    std::fs::create_dir_all(run.join("checkpoints/000000004820-001")).expect("a folder");
    std::fs::create_dir_all(run.join("checkpoints/000000004840-001.tmp")).expect("a folder");
    std::fs::write(run.join("recipe.toml"), RECIPE).expect("written");
    let (before, _) = succeed(folder.path(), &["info", "run"]);
    assert!(
        before.contains("guided   not begun: 0 of 1,200 updates of 4 samples"),
        "{before}"
    );
    assert!(before.contains("none yet"), "{before}");

    // The last line is cut off, as when the program was killed while it wrote; the one before it is
    // of updates that were not saved.
    let torn = &log_line("steps-2", 20)[..30];
    let lost = log_line("steps-2", 10).replace("0.125", "0.5");
    let log = [
        &log_line("guided", 1200),
        &log_line("steps-2", 4),
        &lost,
        torn,
    ]
    .map(String::from)
    .join("\n");
    std::fs::write(run.join("metrics.jsonl"), log).expect("written");
    save(&student(DistilledFor::Any, None), &run, "models/guided");
    let (out, _) = succeed(folder.path(), &["info", "run"]);
    for part in [
        "distil the teacher some/teacher",
        "Images, the part to train on",
        "guided   done: 1,200 of 1,200 updates of 4 samples; loss 0.1250, 33 samples/s",
        "steps-2  stopped: 5 of 50 updates of 4 samples; loss 0.1250",
        "steps-1  not begun: 0 of 50 updates",
        "1, newest 000000004820-001",
        "--resume goes on",
        "models/guided (student of stage one",
    ] {
        assert!(out.contains(part), "no `{part}` in:\n{out}");
    }
    let (out, _) = succeed(folder.path(), &["info", "run", "--json"]);
    let facts: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(facts["phases"][1]["updates_done"], 5);
    // A process that has the folder counts as it logs.
    let lock = std::fs::File::create(run.join(".lock")).expect("a lock");
    lock.lock().expect("free");
    let (out, _) = succeed(folder.path(), &["info", "run"]);
    assert!(
        out.contains("steps-2  under way: 10 of 50 updates"),
        "{out}"
    );
    assert!(!out.contains("--resume"), "{out}");
    drop(lock);
    assert_eq!(facts["recipe"]["guided"]["updates"], 1200);

    save(
        &student(DistilledFor::Deterministic, Some(2)),
        &run,
        "models/steps-2",
    );
    let (out, _) = succeed(folder.path(), &["info", "run", "--steps", "2"]);
    assert!(out.contains("deterministic sampler in 2 steps"), "{out}");
}

#[test]
fn what_is_neither_model_nor_run_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("notes.txt"), "no tensors").expect("written");
    std::fs::create_dir_all(folder.path().join("empty")).expect("a folder");
    std::fs::create_dir_all(folder.path().join("broken")).expect("a folder");
    std::fs::write(folder.path().join("broken/recipe.toml"), "sead = 1").expect("written");
    for (model, parts) in [
        ("nowhere", ["nowhere", "No such file"]),
        ("notes.txt", ["notes.txt", "safetensors"]),
        ("empty", ["empty holds no model", "expected"]),
        ("broken", ["recipe.toml", "Did you mean `seed`?"]),
    ] {
        refuse(folder.path(), &["info", model], &parts);
    }
}
