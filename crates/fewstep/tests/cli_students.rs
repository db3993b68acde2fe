//! How students start: as their teachers, whatever these predict.

mod tiny;
mod workspace;

use fewstep_diffusion::{BetaSchedule, PredictionKind, ScheduleConfig};
use fewstep_formats::Model;
use tiny::{changed, remade, save, teacher};
use workspace::{Workspace, log};

const DISTILL: &str = r#"
seed = 4
teacher = "source"
w = 0.0
[data]
kind = "idx"
path = "DATA"
[guided]
updates = 1
optim = { batch = 8, lr = 1e-3 }
[run]
log_every = 1
"#;

const ONE_PHASE: &str = r#"
method = "consistency"
seed = 4
teacher = "source"
updates = 1
w = [0.0, 2.0]
[data]
kind = "idx"
path = "DATA"
[optim]
batch = 8
lr = 1e-3
ema = { decay = 0.9 }
"#;

/// Stable Diffusion's, which ends with some signal.
fn with_signal() -> ScheduleConfig {
    ScheduleConfig::Discrete {
        betas: BetaSchedule::ScaledLinear,
        beta_start: 0.00085,
        beta_end: 0.012,
        steps: 1000,
        zero_terminal_snr: false,
        clean_end: false,
    }
}

/// A teacher of the workspace's data.
fn teacher_of(prediction: PredictionKind, schedule: ScheduleConfig, dropout: f64) -> Model {
    let teacher = remade(&teacher(), 1, [1, 8, 8], &["0", "1"]);
    changed(&teacher, |config, recipe| {
        config.dropout = dropout;
        recipe.prediction = prediction;
        recipe.schedule = schedule;
    })
}

/// The loss of the first update.
fn first_loss(workspace: &Workspace, run: &str) -> f64 {
    let lines = log(&workspace.path(run));
    let line: serde_json::Value = serde_json::from_str(&lines[0]).expect("JSON");
    line["loss"].as_f64().expect("a loss")
}

fn predicts(workspace: &Workspace, model: &str) -> String {
    let (info, _) = workspace.succeed(&["info", model]);
    let line = info.lines().find_map(|line| line.strip_prefix("Predicts"));
    line.unwrap_or_else(|| panic!("{info}")).trim().to_string()
}

/// At w = 0 the guided teacher is its conditional branch, and so is a fresh student: what the
/// teacher predicts, its schedule, its dropout and LoRA make no difference.
#[test]
fn a_fresh_student_is_its_teacher() {
    let workspace = Workspace::new();
    let recipe = workspace.recipe("distill.toml", DISTILL);
    let lora = ["--set", "lora={rank=2,alpha=2.0}"];
    let cases: [(&str, PredictionKind, ScheduleConfig, f64, &[&str]); 5] = [
        ("v", PredictionKind::V, ScheduleConfig::default(), 0.0, &[]),
        (
            "dropout",
            PredictionKind::V,
            ScheduleConfig::default(),
            0.2,
            &[],
        ),
        ("eps", PredictionKind::Eps, with_signal(), 0.2, &[]),
        ("eps-lora", PredictionKind::Eps, with_signal(), 0.0, &lora),
        ("x", PredictionKind::X, ScheduleConfig::default(), 0.0, &[]),
    ];
    for (name, prediction, schedule, dropout, sets) in cases {
        let source = format!("{name}-source");
        let model = teacher_of(prediction, schedule, dropout);
        save(&model, workspace.folder.path(), &source);
        let teacher = format!("teacher={source}");
        let words = ["distill", &recipe, "--set", &teacher, "--out", name];
        workspace.succeed(&[&words[..], sets].concat());
        assert_eq!(first_loss(&workspace, name), 0.0, "{name}");
        let student = format!("{name}/models/guided");
        let [student, teacher] = [&student, &source].map(|model| predicts(&workspace, model));
        assert_eq!(student, teacher, "{name}");
    }
}

/// A schedule that ends without signal leaves no image to follow from the noise: students predict v
/// there, or are refused.
#[test]
fn noise_is_not_kept_where_no_signal_is_left() {
    let workspace = Workspace::new();
    let eps = teacher_of(PredictionKind::Eps, ScheduleConfig::default(), 0.0);
    save(&eps, workspace.folder.path(), "source");
    let signal = teacher_of(PredictionKind::Eps, with_signal(), 0.0);
    save(&signal, workspace.folder.path(), "signal");
    let [stages, phase] = [("stages.toml", DISTILL), ("phase.toml", ONE_PHASE)]
        .map(|(name, text)| workspace.recipe(name, text));
    let predicts_v = |run: &str, phase: &str| {
        let model = format!("{run}/models/{phase}");
        assert!(predicts(&workspace, &model).starts_with('v'), "{run}");
    };
    for (recipe, phase) in [(&stages, "guided"), (&phase, "consistency")] {
        workspace.succeed(&["distill", recipe, "--out", phase]);
        predicts_v(phase, phase);
        let keep = ["--set", "student_prediction=teacher", "--out", "kept"];
        workspace.refuse(
            &[&["distill", recipe][..], &keep].concat(),
            &["without signal", "student_prediction = \"v\""],
        );
        // Where there is signal, v is a choice.
        let there = format!("{phase}-there");
        let words = ["--set", "teacher=signal", "--set", "student_prediction=v"];
        let out = ["--out", &there];
        workspace.succeed(&[&["distill", recipe][..], &words, &out].concat());
        predicts_v(&there, phase);
    }
    let part = "train all weights";
    let lora = ["--set", "lora={rank=2,alpha=2.0}", "--out", "part"];
    workspace.refuse(&[&["distill", &stages][..], &lora].concat(), &[part]);
}

/// A weight without bound on what the network gives would leave an update to a few samples.
#[test]
fn weights_without_bound_are_refused() {
    let workspace = Workspace::new();
    let train = workspace.recipe("train.toml", workspace::TRAIN);
    let words = ["train", &train, "--set", "updates=1", "--out"];
    for (prediction, refused, named) in [
        ("eps", "truncated-snr", "\"snr\""),
        ("eps", "uniform", "the noise"),
        ("x", "truncated-snr", "min-snr"),
        ("x", "snr", "the image"),
    ] {
        let prediction = format!("prediction={prediction}");
        let weighting = format!("weighting={refused}");
        let sets = ["refused", "--set", &prediction, "--set", &weighting];
        workspace.refuse(&[&words[..], &sets].concat(), &[named, "weighting"]);
    }
    // By default the weight suits the prediction: a fresh network gives zeros, whose error is about
    // that of the data or the noise.
    for prediction in ["eps", "x", "v"] {
        let set = format!("prediction={prediction}");
        workspace.succeed(&[&words[..], &[prediction, "--set", &set]].concat());
        let loss = first_loss(&workspace, prediction);
        assert!(loss > 0.1 && loss < 5.0, "{prediction}: {loss}");
    }
}

/// Targets are what the teacher samples where the recipe says so: at w = 0 a fresh student is its
/// teacher before clipping, and not after. What has no range cannot be clipped.
#[test]
fn targets_are_clipped_on_request() {
    let workspace = Workspace::new();
    let recipe = workspace.recipe("distill.toml", DISTILL);
    let source = teacher_of(PredictionKind::V, ScheduleConfig::default(), 0.0);
    save(&source, workspace.folder.path(), "source");
    let halving = "progressive={start_steps=4,end_steps=2,updates=1,optim={batch=8,lr=1e-3}}";
    let words = ["distill", &recipe, "--set", halving];
    let clip = ["--set", "clip_targets=true", "--out"];
    workspace.succeed(&[&words[..], &["--out", "plain"]].concat());
    workspace.succeed(&[&words[..], &clip, &["clipped"]].concat());
    assert_eq!(first_loss(&workspace, "plain"), 0.0);
    let clipped = first_loss(&workspace, "clipped");
    assert!(clipped > 1e-6 && clipped < 10.0, "{clipped}");
    let latent = changed(&source, |_, recipe| recipe.clip = false);
    save(&latent, workspace.folder.path(), "latent");
    let latent = ["--set", "teacher=latent"];
    let refused = [&words[..], &latent, &clip, &["refused"]].concat();
    workspace.refuse(&refused, &["clip_targets", "no range"]);
}

/// A teacher, and a recipe of stage one for w from 0 to 4.
fn of_a_range() -> (Workspace, String) {
    let workspace = Workspace::new();
    let source = teacher_of(PredictionKind::V, ScheduleConfig::default(), 0.0);
    save(&source, workspace.folder.path(), "source");
    (workspace, DISTILL.replace("w = 0.0", "w = [0.0, 4.0]"))
}

/// Balanced errors count by 5 / (1 + w)² for w in [0, 4], in both stages: at least a fifth, and less
/// in all, since a fresh student is wrong where w is large. A single w leaves nothing to balance.
#[test]
fn errors_are_balanced_over_w_on_request() {
    let (workspace, one) = of_a_range();
    let halving = "[progressive]\nstart_steps = 4\nend_steps = 2";
    for (name, text) in [
        ("one", one.clone()),
        ("two", one.replace("[guided]", halving)),
    ] {
        let recipe = workspace.recipe(&format!("{name}.toml"), &text);
        let plain = format!("{name}-plain");
        workspace.succeed(&["distill", &recipe, "--out", &plain]);
        let balanced = format!("{name}-balanced");
        let words = ["distill", &recipe, "--set", "balance_w=true", "--out"];
        workspace.succeed(&[&words[..], &[&balanced]].concat());
        let ratio = first_loss(&workspace, &balanced) / first_loss(&workspace, &plain);
        assert!(ratio > 0.2 && ratio < 0.9, "{name}: {ratio}");
    }
    let recipe = workspace.recipe("single.toml", &one);
    let words = ["distill", &recipe, "--out", "refused", "--set"];
    let sets = ["balance_w=true", "--set"];
    for (w, said) in [("w=1.0", "single w"), ("w=[-1.0,2.0]", "above -1")] {
        let refused = [&words[..], &sets, &[w]].concat();
        workspace.refuse(&refused, &["balance_w", said]);
    }
}

/// In stage one the student may learn on what the teacher makes of noise. Then the data's images,
/// here mirrored at random, change nothing.
#[test]
fn noisy_images_are_the_teachers_on_request() {
    let (workspace, one) = of_a_range();
    let recipe = workspace.recipe("one.toml", &one);
    let loss = |run: &str, sets: &[&str]| {
        workspace.succeed(&[&["distill", &recipe, "--out", run], sets].concat());
        first_loss(&workspace, run)
    };
    let flip = ["--set", "flip=true"];
    let walked = ["--set", "guided.trajectory_steps=3"];
    let of_data = [loss("plain", &[]), loss("plain-flip", &flip)];
    let both = [walked, flip].concat();
    let of_teacher = [loss("walked", &walked), loss("walked-flip", &both)];
    assert_ne!(of_data[0], of_data[1]);
    assert_eq!(of_teacher[0], of_teacher[1]);
    assert_ne!(of_teacher[0], of_data[0]);
}
